"""The coordinator: leases, token buckets, semaphores and expiring sets, each operation one script of one key.

The server's clock decides. What has lapsed is as good as absent, is cleared away by the next operation on its key, and
the key itself expires with the last of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Final

from celeriac.errors import ConfigurationError
from celeriac.model.address import Address
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.service import Context
from celeriac_redis.link import Link, Script
from celeriac_redis.location import Location, locate
from celeriac_redis.plugin import CONNECTION_OPTIONS, COORDINATOR_CAPABILITIES
from celeriac_redis.wire import Argument

__all__ = ["RedisCoordinator"]

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number) return string.format('%.0f', number) end
local function expire(key, microseconds)
  redis.call('PEXPIRE', key, whole(math.min(math.ceil(microseconds / 1000) + 1, 1e13)))
end
"""
_LEASE: Final = Script(
    "lease",
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'until')
local token, lapse = tonumber(held[2] or 0), tonumber(held[3] or 0)
local live = held[1] and lapse > now
local ttl = tonumber(ARGV[2])
if live and held[1] ~= ARGV[1] then return false end
if ttl <= 0 then
  if live then redis.call('HDEL', KEYS[1], 'owner') end
  return false
end
if not live then token = math.max(token + 1, now) end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', whole(token), 'until', whole(now + ttl))
expire(KEYS[1], ttl + 86400e6)
return whole(token)
""",
)
"""A new token is the server's time in microseconds, or one more than the last if the clock went back meanwhile; for
that the key stays for a day after its lease has lapsed."""
_TAKE: Final = Script(
    "take",
    _NOW
    + """
local rate, capacity, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'level', 'moment')
local level = capacity
if kept[1] then
  level = math.min(capacity, kept[1] + math.max(0, now - kept[2]) / 1e6 * rate)
end
if level < amount then
  if rate <= 0 then return 'inf' end
  return string.format('%.9f', (amount - level) / rate)
end
level = level - amount
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level), 'moment', whole(now))
if rate > 0 then expire(KEYS[1], (capacity - level) / rate * 1e6) else redis.call('PERSIST', KEYS[1]) end
return '0'
""",
)
"""A bucket that is full again is the same as none, so its key expires then."""
_ENTER: Final = Script(
    "enter",
    _NOW
    + """
local ttl = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if ttl <= 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], whole(now + ttl), ARGV[1])
expire(KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] - now)
return 1
""",
)
_REMEMBER: Final = Script(
    "remember",
    _NOW
    + """
local ttl = tonumber(ARGV[1])
local lapsed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, 1000)
if #lapsed > 0 then redis.call('ZREM', KEYS[1], unpack(lapsed)) end
for first = 2, #ARGV, 1000 do
  local last = math.min(first + 999, #ARGV)
  if ttl <= 0 then
    redis.call('ZREM', KEYS[1], unpack(ARGV, first, last))
  else
    local pairs = {}
    for at = first, last do
      pairs[#pairs + 1] = whole(now + ttl)
      pairs[#pairs + 1] = ARGV[at]
    end
    redis.call('ZADD', KEYS[1], unpack(pairs))
  end
end
local latest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if latest then expire(KEYS[1], latest - now) end
""",
)
_RECALL: Final = Script(
    "recall",
    _NOW
    + """
local found = {}
for first = 1, #ARGV, 1000 do
  local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  for at, score in ipairs(scores) do
    if score and tonumber(score) > now then found[#found + 1] = first + at - 2 end
  end
end
return found
""",
)
"""Answers with the positions of the members that the set holds."""


class RedisCoordinator(Coordinator):
    """A connection to a coordinator in one server, or cluster."""

    capabilities = COORDINATOR_CAPABILITIES
    options = CONNECTION_OPTIONS
    driver_errors: ClassVar[tuple[type[BaseException], ...]] = Link.driver_errors

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self.location: Location = locate(address, self.option)
        self._link = Link(self.location)

    def _open(self, timeout: float) -> None:
        self._link.open(timeout)

    def _close(self) -> None:
        self._link.close()

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        token = self._link.script(_LEASE, [self._key("lease", name)], [owner, _microseconds(ttl)], timeout=timeout)
        return None if token is None else int(token)

    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        if amount > capacity:
            raise ConfigurationError(
                f"Bucket {bucket!r} holds {capacity:g} tokens and can never give {amount:g}. Raise its capacity."
            )
        key = self._key("bucket", bucket)
        return float(self._link.script(_TAKE, [key], [float(rate), float(capacity), float(amount)], timeout=timeout))

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        arguments: list[Argument] = [owner, limit, _microseconds(ttl)]
        return bool(self._link.script(_ENTER, [self._key("semaphore", key)], arguments, timeout=timeout))

    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None:
        if members:
            self._link.script(_REMEMBER, [self.set_key(name)], [_microseconds(ttl), *members], timeout=timeout)

    def _recall(self, name: str, members: Collection[str], timeout: float) -> set[str]:
        asked = list(members)
        return {asked[at] for at in self._link.script(_RECALL, [self.set_key(name)], asked, timeout=timeout)}

    def set_key(self, name: str) -> str:
        """Return the key of a set, which exists only while the set holds something, or did a moment ago."""
        return self._key("set", name)

    def _key(self, kind: str, name: str) -> str:
        return f"{self.option['global_keyprefix']}celeriac:{kind}:{name}"


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
