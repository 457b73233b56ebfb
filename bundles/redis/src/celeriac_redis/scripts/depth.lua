-- uses: moments
-- Count the messages of one queue. What is due, and what a lapsed lease held, waits, although it has not been moved yet.
--
-- KEYS  the lists of the queue.
-- ARGV  what own keys begin with.
-- Answer {waiting, delayed, held, now in microseconds, how the message begins that comes next in each list that has one …}
local base, now = ARGV[1], clock()
local waiting = 0
local first = {}
for _, list in ipairs(KEYS) do
  waiting = waiting + redis.call('LLEN', list)
  local raw = redis.call('LINDEX', list, -1)
  if raw then first[#first + 1] = raw:sub(1, 200) end
end
local delayed = redis.call('ZCARD', base .. 'delayed')
local due = redis.call('ZCOUNT', base .. 'delayed', '-inf', now)
local held = 0
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', base .. 'leases', '(' .. string.format('%.0f', now), '+inf')) do
  held = held + redis.call('HLEN', base .. 'held:' .. holder)
end
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', base .. 'leases', '-inf', now)) do
  waiting = waiting + redis.call('HLEN', base .. 'held:' .. holder)
end
return {waiting + due, delayed - due, held, string.format('%.0f', now), unpack(first)}
