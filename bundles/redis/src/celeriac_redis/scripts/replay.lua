-- uses: returning
-- Put letters of one queue back on their lists, behind what waits there, as if they had never been taken.
--
-- KEYS  the sorted set of the letters, the main list of the queue.
-- ARGV  the beginnings of the letters: when and number, 22 digits.
-- Answer: how many there were.
local count = 0
for _, id in ipairs(ARGV) do
  local member = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. id, '(' .. id .. ':', 'LIMIT', 0, 1)[1]
  if member then
    local size, at = member:match('^(%d+):()', 24)
    redis.call('ZREM', KEYS[1], member)
    redis.call('LPUSH', list_of(KEYS[2], member:sub(23, 23)), unraised(member:sub(at + tonumber(size))))
    count = count + 1
  end
end
return count
