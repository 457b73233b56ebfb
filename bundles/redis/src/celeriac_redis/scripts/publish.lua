-- uses: moments returning delaying routing
-- Publish messages to any number of targets: all of them, or none and an error.
--
-- KEYS  for each target its list.
-- ARGV  number of targets; what own keys begin with for each; the step of each; then the messages, each as
--       target, moment when it is due in microseconds or '', message, or 0, channel, message for subscribers.
-- Bounded by: the batch, which is all or none.
local now = clock()
local targets = tonumber(ARGV[1])
for target = 1, targets do
  if not (check_kind(KEYS[target], 'list') and check_kind(ARGV[1 + target] .. 'delayed', 'zset')) then
    return redis.error_reply(WRONG_KIND)
  end
end

local ready, delayed = {}, {}
for at = 2 + 2 * targets, #ARGV, 3 do
  local target, due, raw = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  if target == 0 then
    redis.call('PUBLISH', due, raw)
  elseif due == '' or tonumber(due) <= now then
    ready[target] = ready[target] or {}
    table.insert(ready[target], raw)
    if #ready[target] == 1000 then
      redis.call('LPUSH', KEYS[target], unpack(ready[target]))
      ready[target] = nil
    end
  else
    local entries = delayed[target] or {}
    delayed[target] = entries
    table.insert(entries, due)
    table.insert(entries, 'b' .. ARGV[1 + targets + target])
    table.insert(entries, raw)
  end
end

local number = 0
for target = 1, targets do
  local base = ARGV[1 + target]
  if ready[target] then redis.call('LPUSH', KEYS[target], unpack(ready[target])) end
  if delayed[target] then number = delay(base, base .. 'alarm', now, number, delayed[target]) end
end
return number
