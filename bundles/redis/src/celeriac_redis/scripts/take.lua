-- uses: moments returning reaping delaying
-- Take messages and record who holds them, in one step.
--
-- KEYS  for each queue, the preferred first: its lists, the first to be served first, then its alarm.
-- ARGV  holder, connection, nonce of this take, most messages, most bytes, lease in microseconds, steps (a digit for
--       each list of a queue), key of the set of revoked ids or '', keys that own data of a queue begin with (one for
--       each queue), main list (likewise).
-- Answer {state, stamp, wait, tokens, counts, messages, unrevoked}:
--   state    0: as follows. 1: there was tidying up to do, ask again at once. 2: a newer connection of this holder has
--            taken over, this one must take nothing more.
--   stamp    with the number, the step and the nonce makes the field of each message.
--   wait     microseconds until something is due or lapses; -1 if nothing will. Only if no messages are given.
--   tokens   for each queue the token of this holder's lease, or ''.
--   counts   for each queue, for each step, how many of the messages come from there.
--   unrevoked  1 if that set does not exist. Only if messages are given.
-- Bounded by: most messages (at most 1000), most bytes (beyond one message), 500 returned, 500 made ready, about 500
-- delayed.
local holder, connection, nonce = ARGV[1], ARGV[2], ARGV[3]
local left, room, lease = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local steps, revoked = ARGV[7], ARGV[8]
local levels = #steps
local queues = #KEYS / (levels + 1)
local now = clock()
local stamp = string.format('%016.0f', now)
local tidying, ready = 500, 500
local counts, tokens, messages = {}, {}, {}
local largest = 1
local full = false
local delayed = 0

-- When a message is due that lies in a list because Celery's workers must find it there; nil if it may be had now.
local DUE = '{"celeriac-due":'
local function not_due(raw)
  if raw:sub(1, #DUE) ~= DUE then return nil end
  local due = tonumber(raw:match('^[^,]+', #DUE + 1))
  return due and due * 1000000 > now and due * 1000000 or nil
end

-- Pop from one list into the held hash; a message that is too large for what room is left goes back, but for the first.
-- One that is not due yet goes to the delayed ones.
local function pop(list, base, alarm, step)
  local held = base .. 'held:' .. holder
  local taken = 0
  while left > 0 and not full do
    local chunk = redis.call('RPOP', list, math.max(1, math.min(left, 32, math.floor(room / (2 * largest)))))
    if not chunk then break end
    local fields = {}
    for i = 1, #chunk do
      local size = #chunk[i]
      local due = not_due(chunk[i])
      if due then
        delayed = delay(base, alarm, now, delayed, {due, 'b' .. step, chunk[i]})
      elseif size > room and #messages > 0 then
        for j = #chunk, i, -1 do redis.call('RPUSH', list, chunk[j]) end
        full = true
        break
      else
        room = room - size
        if size > largest then largest = size end
        fields[#fields + 1] = string.format('%s%04d%s.%s', stamp, #messages, step, nonce)
        fields[#fields + 1] = chunk[i]
        messages[#messages + 1] = chunk[i]
        taken = taken + 1
        left = left - 1
      end
    end
    if #fields > 0 then redis.call('HSET', held, unpack(fields)) end
    if room <= 0 or delayed >= 500 then full = true end
  end
  return taken
end

for queue = 1, queues do
  local base, main = ARGV[8 + queue], ARGV[8 + queues + queue]
  local own = redis.call('HMGET', base .. 'lease:' .. holder, 'token', 'connection')
  if own[2] and own[2] ~= connection then return {2, stamp, 0, {}, {}, {}, 0} end
end

for queue = 1, queues do
  local base, main = ARGV[8 + queue], ARGV[8 + queues + queue]
  local more
  tidying, more = reap(main, base, now, tidying)
  if more then
    if #messages == 0 then return {1, stamp, 0, {}, {}, {}, 0} end
    left = 0
  end
  ready = promote(main, base, now, ready)
  local before = #messages
  for level = 1, levels do
    local list = KEYS[(queue - 1) * (levels + 1) + level]
    local alarm = KEYS[queue * (levels + 1)]
    counts[#counts + 1] = left > 0 and not full and pop(list, base, alarm, steps:sub(level, level)) or 0
  end
  local own = base .. 'lease:' .. holder
  local token = redis.call('HGET', own, 'token')
  if #messages > before then
    if not token then
      token = nonce
      redis.call('HSET', own, 'token', token)
      redis.call('PEXPIRE', own, math.max(3600000, lease / 100))
    end
    redis.call('ZADD', base .. 'leases', 'NX', now + lease, holder)
  end
  tokens[queue] = token or ''
end

if #messages == 0 and full then return {1, stamp, 0, {}, {}, {}, 0} end
local wait = -1
if #messages == 0 then
  -- Reading the keys makes the server tell this connection when one of them changes.
  redis.call('EXISTS', unpack(KEYS))
  for queue = 1, queues do
    for _, key in ipairs({'delayed', 'leases'}) do
      local first = redis.call('ZRANGE', ARGV[8 + queue] .. key, 0, 0, 'WITHSCORES')[2]
      if first then
        local distance = math.max(tonumber(first) - now, 0)
        if wait < 0 or distance < wait then wait = distance end
      end
    end
  end
end
local unrevoked = 0
-- An error says that this user may not look there: then the coordinator is asked.
if #messages > 0 and revoked ~= '' and redis.pcall('EXISTS', revoked) == 0 then unrevoked = 1 end
return {0, stamp, wait, tokens, counts, messages, unrevoked}
