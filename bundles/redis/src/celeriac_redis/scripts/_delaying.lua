-- Delayed messages: a sorted set by the moment when they are due, in microseconds.
-- A member is: when it was put there (16 digits), number (6 digits), f for front or b for back, priority step, message.
-- So what is due at one moment keeps its order, and two equal messages are two members.

local ALARM_MILLISECONDS = 3600000

-- Delay messages of one queue. `entries` is {due, place .. step, raw, …}; `number` numbers them within this script.
local function delay(base, alarm, now, number, entries)
  local key = base .. 'delayed'
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  local first
  for i = 1, #entries, 3 do
    local due = tonumber(entries[i])
    redis.call('ZADD', key, due, string.format('%016.0f%06d', now, number) .. entries[i + 1] .. entries[i + 2])
    number = number + 1
    if not first or due < first then first = due end
  end
  -- Who sleeps until the first one is due watches this key; its content does not matter.
  if first and (not head or first < tonumber(head)) then
    redis.call('SET', alarm, first, 'PX', ALARM_MILLISECONDS)
  end
  return number
end

-- Move up to `budget` due messages to their lists; return what is left of the budget.
local function promote(main, base, now, budget)
  local key = base .. 'delayed'
  local due = math.min(redis.call('ZCOUNT', key, '-inf', now), budget)
  if due <= 0 then return budget end
  local found = redis.call('ZPOPMIN', key, due)
  for i = 1, #found, 2 do
    local member = found[i]
    if member:sub(23, 23) == 'b' then redis.call('LPUSH', list_of(main, member:sub(24, 24)), member:sub(25)) end
  end
  -- The last first, so that the first one comes first.
  for i = #found - 1, 1, -2 do
    local member = found[i]
    if member:sub(23, 23) == 'f' then redis.call('RPUSH', list_of(main, member:sub(24, 24)), member:sub(25)) end
  end
  return budget - due
end
