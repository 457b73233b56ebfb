-- uses: moments returning reaping
-- Let a new connection of a holder take over one queue: older ones take nothing more, and what is held beyond what the
-- holder knows of goes back uncounted.
--
-- KEYS  the main list of the queue.
-- ARGV  what own keys begin with, holder, connection, lease in microseconds, then the fields that the holder knows.
-- Answer {how many went back, whether there is more, token}
local base, holder, lease = ARGV[1], ARGV[2], tonumber(ARGV[4])
local held, own = base .. 'held:' .. holder, base .. 'lease:' .. holder
local known = {}
for at = 5, #ARGV do known[ARGV[at]] = true end
redis.call('PEXPIRE', own, 3600000)
reap(KEYS[1], base, clock(), 500)
redis.call('HSET', own, 'connection', ARGV[3])
redis.call('PEXPIRE', own, math.max(3600000, lease / 100))
local unknown = {}
for _, field in ipairs(redis.call('HKEYS', held)) do
  if not known[field] then unknown[#unknown + 1] = field end
end
local left = put_back(KEYS[1], held, unknown, 500, false)
if redis.call('EXISTS', held) == 0 then redis.call('ZREM', base .. 'leases', holder) end
return {#unknown - left, left > 0 and 1 or 0, redis.call('HGET', own, 'token') or ''}
