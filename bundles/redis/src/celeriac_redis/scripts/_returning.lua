-- Bringing messages back to their lists, with or without raising their delivery count.
-- A field of a held hash is: when taken (16 digits), number (4 digits), priority step (1 digit), '.', nonce of the take.
-- So fields in order are messages in the order in which they were taken.

local COUNT = '{"celeriac-deliveries":'

-- The list of one priority step, as kombu names it.
local function list_of(main, step)
  if step == '0' then return main end
  return main .. '\6\22' .. step
end

-- The message with its delivery count raised by one. The count stands in front of the other members of the JSON object.
local function raised(raw)
  if raw:sub(1, #COUNT) == COUNT then
    local count, rest = raw:match('^(%d+)(,.*)$', #COUNT + 1)
    if count then return COUNT .. string.format('%.0f', count + 1) .. rest end
  end
  if raw:sub(1, 1) == '{' and not raw:find('^%s*}', 2) then return COUNT .. '1,' .. raw:sub(2) end
  return raw
end

-- The message as if it had never been taken.
local function unraised(raw)
  if raw:sub(1, #COUNT) == COUNT then
    local rest = raw:match('^%d+,(.*)$', #COUNT + 1)
    if rest then return '{' .. rest end
  end
  return raw
end

-- Put back up to `budget` of these fields of a held hash, the youngest first, so that the oldest comes first again.
-- Return how many are left. `fields` is sorted here.
local function put_back(main, held, fields, budget, counted)
  table.sort(fields)
  local first = math.max(#fields - budget + 1, 1)
  for i = #fields, first, -1 do
    local raw = redis.call('HGET', held, fields[i])
    if raw then
      -- In this order: a server without memory allows a write that needs some only after one that needs none.
      redis.call('HDEL', held, fields[i])
      redis.call('RPUSH', list_of(main, fields[i]:sub(21, 21)), counted and raised(raw) or raw)
    end
  end
  return first - 1
end
