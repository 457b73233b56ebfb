-- Leases that have lapsed. `leases` scores each holder that holds something by the moment when its lease lapses.

-- Return, counted, up to `budget` messages of holders whose lease has lapsed; return what is left of the budget, and
-- whether such a holder still has some. Who was reaped finds that its lease's token is gone.
local function reap(main, base, now, budget)
  while budget > 0 do
    local holder = redis.call('ZRANGEBYSCORE', base .. 'leases', '-inf', now, 'LIMIT', 0, 1)[1]
    if not holder then return budget, false end
    local held = base .. 'held:' .. holder
    local fields = redis.call('HKEYS', held)
    local left = put_back(main, held, fields, budget, true)
    budget = budget - (#fields - left)
    redis.call('HDEL', base .. 'lease:' .. holder, 'token')
    if left == 0 then redis.call('ZREM', base .. 'leases', holder) end
  end
  return budget, redis.call('ZCOUNT', base .. 'leases', '-inf', now) > 0
end
