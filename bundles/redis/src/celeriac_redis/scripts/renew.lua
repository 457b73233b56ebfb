-- uses: moments returning reaping
-- Renew the lease of one holder on one queue.
--
-- KEYS  the main list of the queue.
-- ARGV  what own keys begin with, holder, lease in microseconds, the token that the caller knows or ''.
-- Answer {state, token}: 1: renewed, or nothing is held. 0: it had lapsed; what was held has been returned.
--   2: it had lapsed, and there is more to return: ask again.
local base, holder, lease, known = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now = clock()
local leases, own = base .. 'leases', base .. 'lease:' .. holder
-- A write that a server without memory allows, so that it allows the next ones too: a lease must not lapse for that.
redis.call('PEXPIRE', own, math.max(3600000, lease / 100))
local lapses = redis.call('ZSCORE', leases, holder)
local token = redis.call('HGET', own, 'token') or ''
if lapses and tonumber(lapses) <= now then
  local _, more = reap(KEYS[1], base, now, 500)
  local score = redis.call('ZSCORE', leases, holder)
  return {more and score and 2 or 0, ''}
end
if lapses then redis.call('ZADD', leases, 'XX', now + lease, holder) end
if known ~= '' and known ~= token then return {0, token} end
return {1, token}
