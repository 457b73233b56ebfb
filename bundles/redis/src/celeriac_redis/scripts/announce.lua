-- Write down names in a set, also on a server without memory: what was accepted before must still be finished there.
--
-- KEYS  the set.
-- ARGV  for how many seconds it is kept, 0 for ever; the names.
local seconds = tonumber(ARGV[1])
-- A write that needs no memory allows the next ones too.
if seconds > 0 then redis.call('EXPIRE', KEYS[1], seconds) else redis.call('PERSIST', KEYS[1]) end
for at = 2, #ARGV do redis.call('SADD', KEYS[1], ARGV[at]) end
if seconds > 0 then redis.call('EXPIRE', KEYS[1], seconds) end
return #ARGV - 1
