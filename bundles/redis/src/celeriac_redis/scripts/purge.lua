-- uses: moments returning reaping
-- Delete what waits and what is delayed in one queue, not what is held; return how many messages that was and
-- whether there is more to delete.
--
-- KEYS  the lists of the queue.
-- ARGV  what own keys begin with, the main list.
local base = ARGV[1]
local count = 0
local _, more = reap(ARGV[2], base, clock(), 500)
for _, list in ipairs(KEYS) do
  count = count + redis.call('LLEN', list)
  redis.call('UNLINK', list)
end
count = count + redis.call('ZCARD', base .. 'delayed')
redis.call('UNLINK', base .. 'delayed')
return {count, more and 1 or 0}
