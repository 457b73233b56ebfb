-- Find out what became of a settlement whose answer was lost; if it has not arrived, it never takes effect.
--
-- KEYS  where the answer is remembered.
-- ARGV  the sequence number of the lost call, how long to remember in milliseconds.
-- Answer: the refused verdicts as `settle` says them, or nil if it had no effect and will have none.
local last, said = (redis.call('GET', KEYS[1]) or '0:'):match('^(%d+):(.*)$')
if tonumber(last) >= tonumber(ARGV[1]) then
  if said == 'lost' then return false end
  return said
end
redis.call('SET', KEYS[1], ARGV[1] .. ':lost', 'PX', ARGV[2])
return false
