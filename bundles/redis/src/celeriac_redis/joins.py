"""Joins: one hash each, with what it waits for, how many of its members have ended, and what they gave.

A member's field is set once, and only then is it counted. A closed join keeps its key, with nothing but its state,
until it expires: a late part opens nothing anew.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac_redis.envelope import open_envelope, seal
from celeriac_redis.link import Link, Script
from celeriac_redis.wire import Argument

__all__ = ["GIVING", "GROWING", "JOINS", "OPENING", "Joins", "giving", "growing", "join_key", "opening"]

OPENING: Final = 8
"""How many arguments `opening` returns."""
GIVING: Final = 5
"""How many arguments `giving` returns."""
GROWING: Final = 4
"""How many arguments `growing` returns."""
_MEMBER: Final = b"m:"

JOINS: Final = (
    f"""
local JOIN_FIELDS, GROWTH_FIELDS, PART_FIELDS = {OPENING}, {GROWING}, {GIVING}
"""
    + """
-- State of a join: 0 it waits, 1 its message was published with a settlement, 2 it is closed.
local function open_join(at)
  local key, px = ARGV[at], ARGV[at + 4]
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'size', ARGV[at + 1], 'successes', ARGV[at + 2], 'failures', ARGV[at + 3],
    'queue', ARGV[at + 5], 'priority', ARGV[at + 6], 'message', ARGV[at + 7], 'ended', 0, 'succeeded', 0, 'state', 0)
  if px ~= '0' then redis.call('PEXPIRE', key, px) end
end

local function grow_join(at)
  local key, state = ARGV[at], redis.call('HGET', ARGV[at], 'state')
  if not state or state == '2' or redis.call('HSETNX', key, 'g:' .. ARGV[at + 1], '') == 0 then return end
  redis.call('HINCRBY', key, 'size', 1)
  redis.call('HINCRBY', key, 'successes', ARGV[at + 2])
  redis.call('HINCRBY', key, 'failures', ARGV[at + 3])
end

local function give_part(at)
  local key, state = ARGV[at], redis.call('HGET', ARGV[at], 'state')
  if not state or state == '2' then return end
  local given = ARGV[at + 2] .. ARGV[at + 3] .. ARGV[at + 4]
  if redis.call('HSETNX', key, 'm:' .. ARGV[at + 1], given) == 1 then
    redis.call('HINCRBY', key, 'ended', 1)
    if ARGV[at + 3] == '+' then redis.call('HINCRBY', key, 'succeeded', 1) end
    return false
  end
  return true
end

local function complete_join(key, once)
  local join = redis.call('HMGET', key, 'state', 'size', 'successes', 'failures', 'ended', 'succeeded')
  if not join[1] or join[1] == '2' or (once and join[1] == '1') then return false end
  local ended, succeeded = tonumber(join[5]), tonumber(join[6])
  if succeeded < tonumber(join[3]) and ended - succeeded < tonumber(join[4]) and ended < tonumber(join[2]) then
    return false
  end
  if once then redis.call('HSET', key, 'state', 1) end
  return redis.call('HMGET', key, 'queue', 'priority', 'message')
end

local function close_join(key)
  local px = redis.call('PTTL', key)
  if px == -2 then return end
  redis.call('DEL', key)
  redis.call('HSET', key, 'state', 2)
  if px > 0 then redis.call('PEXPIRE', key, px) end
end
"""
)
"""Lua functions for any script. `open_join(at)`, `grow_join(at)` and `give_part(at)` read from ARGV what `opening`,
`growing` and `giving` return, `give_part` answering whether the part had come before; `complete_join(key, once)` tells
queue, priority and envelope of the message of a complete join, with `once` only the first time; `close_join(key)`
drops what its members gave."""

_OPEN: Final = Script("open join", JOINS + "open_join(1)")
_GROW: Final = Script("grow join", JOINS + f"for at = 1, #ARGV, {GROWING} do grow_join(at) end")
_GIVE: Final = Script(
    "give",
    JOINS
    + f"""
local before, again = complete_join(KEYS[1]), false
for at = 1, #ARGV, {GIVING} do again = give_part(at) or again end
if before and not again then return false end
return complete_join(KEYS[1])
""",
)
"""A part that comes when the join is complete tells of it only if it came before: its first try may have died."""
_CLOSE: Final = Script("close join", JOINS + "close_join(KEYS[1])")


def join_key(id_: str, prefix: str) -> str:
    """Return the key of a join; `prefix` is what every key begins with."""
    return f"{prefix}celeriac:join:{id_}"


def opening(join: Join, prefix: str, moment: float) -> tuple[str, int, int, int, int, str, int, bytes]:
    """Return a join as `open_join` takes it; `moment` is now, in seconds since 1970.

    Raises: EncodeError: its message cannot be written.
    """
    lifetime = join.expires_seconds
    return (
        join_key(join.id, prefix),
        join.size,
        join.successes,
        join.failures,
        0 if lifetime is None else max(1, round(lifetime * 1000)),
        join.message.routing_key,
        join.message.priority,
        seal(join.message, moment),
    )


def giving(part: Part, prefix: str) -> tuple[Argument, ...]:
    """Return a part as `give_part` takes it."""
    return join_key(part.join, prefix), part.member, part.place, "+" if part.succeeded else "-", part.payload


def growing(growth: Growth, prefix: str) -> tuple[Argument, ...]:
    """Return a growth as `grow_join` takes it."""
    return join_key(growth.join, prefix), growth.member, growth.successes, growth.failures


class Joins:
    """The joins of one store, each operation one script a join."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    def open(self, joins: Sequence[Join], moment: float, timeout: float) -> None:
        """Open joins that do not exist yet."""
        rows = [opening(join, self._prefix, moment) for join in joins]
        self._link.scripts(_OPEN, [([row[0]], row) for row in rows], timeout=timeout)

    def grow(self, growths: Sequence[Growth], timeout: float) -> None:
        """Have joins wait for more members, each once."""
        calls: dict[str, list[Argument]] = {}
        for growth in growths:
            row = growing(growth, self._prefix)
            calls.setdefault(str(row[0]), []).extend(row)
        self._link.scripts(_GROW, [([key], row) for key, row in calls.items()], timeout=timeout)

    def give(self, parts: Sequence[Part], timeout: float) -> list[Message]:
        """Give parts to their joins; return the messages of those that are complete and not closed."""
        calls: dict[str, list[Argument]] = {}
        for part in parts:
            calls.setdefault(join_key(part.join, self._prefix), []).extend(giving(part, self._prefix))
        answers = self._link.scripts(_GIVE, [([key], row) for key, row in calls.items()], timeout=timeout)
        return [open_envelope(answer[2], answer[0].decode())[0] for answer in answers if answer is not None]

    def parts(self, id_: str, timeout: float) -> list[Part]:
        """Return what the members of a join gave, by their places."""
        fields = self._link.run(b"HGETALL", join_key(id_, self._prefix), timeout=timeout)
        found = [
            _part(id_, name[len(_MEMBER) :].decode(), value)
            for name, value in zip(fields[::2], fields[1::2], strict=True)
            if name.startswith(_MEMBER)
        ]
        return sorted(found, key=lambda part: (part.place, part.member))

    def close(self, ids: Collection[str], timeout: float) -> None:
        """Drop the parts of joins and take no more."""
        self._link.scripts(_CLOSE, [([join_key(id_, self._prefix)], ()) for id_ in ids], timeout=timeout)


def _part(id_: str, member: str, value: bytes) -> Part:
    """Read what a member gave: the digits of its place, whether it succeeded, its payload."""
    end = min(found for found in (value.find(b"+"), value.find(b"-")) if found >= 0)
    return Part(
        join=id_,
        member=member,
        place=int(value[:end]),
        succeeded=value[end : end + 1] == b"+",
        payload=value[end + 1 :],
    )
