-- Putting messages where they wait. A target is a list or the delayed messages of its queue.

-- Refuse before anything was written if a key holds data of another kind.
local function check_kind(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == 'none' or found == kind
end

local WRONG_KIND = 'WRONGTYPE a queue is a key of another kind'
