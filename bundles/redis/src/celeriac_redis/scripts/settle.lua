-- uses: moments returning delaying routing records joins
-- Carry out verdicts, each with its records and follow-ups, in one step, and take what follows where that is asked for. A verdict whose delivery this holder no longer
-- holds under a lease in force is refused: nothing of it takes effect.
--
-- KEYS  where the answer is remembered, then the main list of each queue that something was taken from, then for each
--       target its list, then, where follow-ups may be taken, every list of the queues that this worker takes from.
-- ARGV  holder, sequence number of this call in its slot, number of queues, number of targets, how long the answer is
--       remembered in milliseconds, the step of each priority from 0 to 9 and after these digits what every list begins
--       with; 0, or the number 5 and connection, lease in microseconds, nonce, how many follow-ups
--       to take at the most, and the key of the set of revoked ids;
--       what own keys begin with for each queue, then for each target; the step of each
--       target; then the verdicts, each as
--         action    a: acknowledge, r, u: back to the front, counted or not, R, U: the same after a delay,
--                   d: to the dead letters, p: to the parked ones, n: there is no delivery
--         queue, field                  unless n
--         microseconds                  of a delay
--         reason                        of a letter
--         number of records, each:      key, payload, milliseconds to live or 0, rank
--                                       (a plus sign behind the number: joins follow at the end)
--         number of follow-ups, each:   target, moment when it is due in microseconds or '', message
--                                       ('!' is '' for one that may be taken)
--                                       or 0, channel, message, for subscribers
--         number of joins, growths, parts, parts for chords of Celery's clients, joins to be closed, and these, if
--                                       they follow
-- Answer: the numbers of the refused verdicts, from 0, with commas between. If follow-ups were taken, then a semicolon,
--         the stamp of their fields, a semicolon, and which they are, as numbers from 0 among those that may be.
-- A call that is repeated, or that comes after `resolve` declared it lost, has no further effect.
-- Bounded by: the caller, who divides verdicts into calls.
local answer_key, holder, sequence = KEYS[1], ARGV[1], tonumber(ARGV[2])
local queues, targets = tonumber(ARGV[3]), tonumber(ARGV[4])
local last, said = (redis.call('GET', answer_key) or '0:'):match('^(%d+):(.*)$')
if tonumber(last) >= sequence then return said end

local now = clock()
local first_base = 7 + tonumber(ARGV[7])
local first_target = first_base + queues
for target = 1, targets do
  local base = ARGV[first_target + target]
  if not (check_kind(KEYS[1 + queues + target], 'list') and check_kind(base .. 'delayed', 'zset')) then
    return redis.error_reply(WRONG_KIND)
  end
end

local held, alive, emptied, returned = {}, {}, {}, {}
for queue = 1, queues do
  local base = ARGV[first_base + queue]
  local lapses = redis.call('ZSCORE', base .. 'leases', holder)
  held[queue] = base .. 'held:' .. holder
  alive[queue] = lapses and tonumber(lapses) > now
  returned[queue] = {}
end

local number, refused = 0, {}
local letters = {d = 'dead', p = 'parked'}

-- Carry out one action; return whether the delivery was held.
local function act(action, queue, field, extra)
  if not alive[queue] then return false end
  if action == 'a' then
    if redis.call('HDEL', held[queue], field) == 0 then return false end
    emptied[queue] = true
    return true
  end
  local raw = redis.call('HGET', held[queue], field)
  if not raw then return false end
  redis.call('HDEL', held[queue], field)
  emptied[queue] = true
  local base, step = ARGV[first_base + queue], field:sub(21, 21)
  if letters[action] then
    local member = string.format('%016.0f%06d%s%d:', now, number, step, #extra) .. extra .. raw
    redis.call('ZADD', base .. letters[action], 0, member)
    number = number + 1
    return true
  end
  if action == 'r' or action == 'R' then raw = raised(raw) end
  if action == 'R' or action == 'U' then
    number = delay(base, base .. 'alarm', now, number, {now + tonumber(extra), 'f' .. step, raw})
  else
    local list = returned[queue]
    list[#list + 1] = {field, raw}
  end
  return true
end

-- Take a follow-up instead of putting it on its list; return whether that was done. Only where it could not have been
-- had otherwise either: nothing waits before it, the connection is the one that takes, and nobody has revoked anything.
local allowed, offered, taken, stamp = tonumber(ARGV[7]) > 0 and tonumber(ARGV[11]) or 0, -1, {}, nil
local function take(target, raw)
  if allowed == 0 then return false end
  local base = ARGV[first_target + target]
  if not stamp then
    -- An error says that this user may not look at the revoked ids: then the worker has to ask the coordinator.
    if redis.pcall('EXISTS', ARGV[12], unpack(KEYS, 2 + queues + targets)) ~= 0 then allowed = 0 return false end
    stamp = string.format('%016.0f', now)
  end
  local own = redis.call('HMGET', base .. 'lease:' .. holder, 'token', 'connection')
  local lapses = redis.call('ZSCORE', base .. 'leases', holder)
  local superseded = own[2] and own[2] ~= ARGV[8]
  if not own[1] or superseded or (lapses and tonumber(lapses) <= now) then allowed = 0 return false end
  if not lapses then redis.call('ZADD', base .. 'leases', now + tonumber(ARGV[9]), holder) end
  local field = string.format('%s%04d%s.%s', stamp, #taken, ARGV[first_target + targets + target], ARGV[10])
  redis.call('HSET', base .. 'held:' .. holder, field, raw)
  taken[#taken + 1] = offered
  allowed = allowed - 1
  return true
end

-- Read past one follow-up, publishing it if `wanted`; return where the next thing is.
local function follow(at, wanted)
  local target, due, raw = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  local offer = due == '!'
  if offer then due, offered = '', offered + 1 end
  if wanted and not (offer and take(target, raw)) then
    if target == 0 then
      redis.call('PUBLISH', due, raw)
    elseif due == '' or tonumber(due) <= now then
      redis.call('LPUSH', KEYS[1 + queues + target], raw)
    else
      local base = ARGV[first_target + target]
      local step = ARGV[first_target + targets + target]
      number = delay(base, base .. 'alarm', now, number, {due, 'b' .. step, raw})
    end
  end
  return at + 3
end

-- Read past one record, storing it if `wanted`; return where the next thing is.
local function put_record(at, wanted)
  if wanted then celeriac_store(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]) end
  return at + 4
end

-- Read past what a verdict says of joins. They are opened at once and grow; parts are given, and joins closed, after all verdicts.
local given, theirs, closed = {}, {}, {}
local function join(at, wanted)
  local joins, growths, parts = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local foreign, closings = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  at = at + 5
  for _ = 1, joins do
    if wanted then open_join(at) end
    at = at + JOIN_FIELDS
  end
  for _ = 1, growths do
    if wanted then grow_join(at) end
    at = at + GROWTH_FIELDS
  end
  for _ = 1, parts do
    if wanted then given[#given + 1] = at end
    at = at + PART_FIELDS
  end
  for _ = 1, foreign do
    if wanted then theirs[#theirs + 1] = at end
    at = at + CHORD_FIELDS
  end
  for _ = 1, closings do
    if wanted then closed[#closed + 1] = at end
    at = at + CLOSE_FIELDS
  end
  return at
end

local at, index = first_target + 2 * targets + 1, 0
while at <= #ARGV do
  local action, done = ARGV[at], true
  at = at + 1
  if action ~= 'n' then
    local queue, field, extra = tonumber(ARGV[at]), ARGV[at + 1], nil
    at = at + 2
    if action ~= 'a' and action ~= 'r' and action ~= 'u' then
      extra = ARGV[at]
      at = at + 1
    end
    done = act(action, queue, field, extra)
  end
  local records, joins = tonumber(ARGV[at]), false
  if not records then records, joins = tonumber(ARGV[at]:sub(1, -2)), true end
  at = at + 1
  for _ = 1, records do at = put_record(at, done) end
  local followups = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, followups do at = follow(at, done) end
  if joins then at = join(at, done) end
  if not done then refused[#refused + 1] = index end
  index = index + 1
end

local function publish(message)
  local step = ARGV[6]:sub(message[2] + 1, message[2] + 1)
  redis.call('LPUSH', list_of(ARGV[6]:sub(11) .. message[1], step), message[3])
end

local touched = {}
for _, part in ipairs(given) do
  give_part(part)
  touched[ARGV[part]] = true
end
for _, part in ipairs(given) do
  local message = touched[ARGV[part]] and complete_join(ARGV[part], true)
  touched[ARGV[part]] = nil
  if message then publish(message) end
end
for _, part in ipairs(theirs) do
  local message = give_theirs(part) ~= nil and complete_theirs(part, true)
  if message then publish(message) end
end
for _, row in ipairs(closed) do close_join(ARGV[row], ARGV[row + 1]) end

for queue = 1, queues do
  local list = returned[queue]
  -- The youngest first, so that the oldest comes first again.
  table.sort(list, function(one, other) return one[1] > other[1] end)
  for _, each in ipairs(list) do
    redis.call('RPUSH', list_of(KEYS[1 + queue], each[1]:sub(21, 21)), each[2])
  end
  if emptied[queue] and redis.call('EXISTS', held[queue]) == 0 then
    redis.call('ZREM', ARGV[first_base + queue] .. 'leases', holder)
  end
end

said = table.concat(refused, ',')
if #taken > 0 then said = said .. ';' .. stamp .. ';' .. table.concat(taken, ',') end
redis.call('SET', answer_key, ARGV[2] .. ':' .. said, 'PX', ARGV[5])
return said
