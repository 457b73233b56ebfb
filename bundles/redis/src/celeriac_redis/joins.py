"""Joins: one hash each, with what it waits for, how many of its members have ended, and what they gave.

A member's field is set once, and only then is it counted. A closed join keeps its key, with nothing but its state,
until it expires: a late part opens nothing anew.

What they gave lies where Celery's workers count (`celeriac_redis.chords`): so the last member may run on either side.
A cluster keeps that in the hash too: Celery's keys would be spread over its servers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from celeriac.model.join import UNPLACED, Growth, Join, Part
from celeriac.model.message import Message
from celeriac_redis.chords import CHORD_GIVING, CHORDS, chord_base, chord_giving, chord_growing
from celeriac_redis.envelope import open_envelope, seal
from celeriac_redis.link import Link, Script
from celeriac_redis.wire import Argument

__all__ = ["CLOSING", "GIVING", "GROWING", "JOINS", "OPENING", "Joins", "closing", "giving", "growing", "opening"]

OPENING: Final = 9
"""How many arguments `opening` returns."""
GIVING: Final = 5
"""How many arguments `giving` returns."""
GROWING: Final = 4
"""How many arguments `growing` returns."""
CLOSING: Final = 2
"""How many arguments `closing` returns."""
_MEMBER: Final = b"m:"

JOINS: Final = (
    CHORDS
    + f"""
local JOIN_FIELDS, GROWTH_FIELDS, PART_FIELDS, CLOSE_FIELDS = {OPENING}, {GROWING}, {GIVING}, {CLOSING}
"""
    + """
-- State of a join: 0 it waits, 1 its message was published with a settlement, 2 it is closed. What ours have ended is
-- counted here, so that it may be complete before all have; when all have, Celery's keys tell, or `ended`.
local function open_join(at)
  local key, px, base = ARGV[at], ARGV[at + 4], ARGV[at + 8]
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'size', ARGV[at + 1], 'successes', ARGV[at + 2], 'failures', ARGV[at + 3],
    'queue', ARGV[at + 5], 'priority', ARGV[at + 6], 'message', ARGV[at + 7], 'ended', 0, 'succeeded', 0, 'state', 0)
  if px ~= '0' then redis.call('PEXPIRE', key, px) end
  if base == '' then return end
  redis.call('HSET', key, 'base', base)
  redis.call('SET', base .. '.s', ARGV[at + 1])
  if px ~= '0' then redis.call('PEXPIRE', base .. '.s', px) end
end

local function grow_join(at)
  local key, member = ARGV[at], ARGV[at + 1]
  if ARGV[at + 2] == '' then return grow_chord(key, member, tonumber(ARGV[at + 3])) end
  local join = redis.call('HMGET', key, 'state', 'base')
  if not join[1] or join[1] == '2' or redis.call('HSETNX', key, 'g:' .. member, '') == 0 then return end
  if join[2] then grow_chord(join[2], member, redis.call('PTTL', key)) end
  redis.call('HINCRBY', key, 'size', 1)
  redis.call('HINCRBY', key, 'successes', ARGV[at + 2])
  redis.call('HINCRBY', key, 'failures', ARGV[at + 3])
end

local function give_part(at)
  local key, member, place, sign = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local join, before = redis.call('HMGET', key, 'state', 'base'), nil
  local base = join[2]
  if not join[1] or join[1] == '2' then return end
  if base then
    local first = redis.call('EXISTS', base .. '.j') == 0
    before = give_to_chord(base, member, place, ARGV[at + 4])
    if first then keep_chord(base, redis.call('PTTL', key)) end
  else
    before = redis.call('HSETNX', key, 'm:' .. member, place .. sign .. ARGV[at + 4]) == 0
  end
  if before == false then
    redis.call('HINCRBY', key, 'ended', 1)
    if sign == '+' then redis.call('HINCRBY', key, 'succeeded', 1) end
  end
  return before
end

local function complete_join(key, once)
  local join = redis.call('HMGET', key, 'state', 'base', 'size', 'successes', 'failures', 'ended', 'succeeded')
  local state, base, ended, succeeded = join[1], join[2], tonumber(join[6]), tonumber(join[7])
  if not state or state == '2' then return false end
  local complete = ended >= tonumber(join[3]) or succeeded >= tonumber(join[4])
    or ended - succeeded >= tonumber(join[5])
  if base then
    if not chord_is_complete(base, complete) or not claim_chord(base, once) then return false end
  else
    if not complete or (once and state == '1') then return false end
    if once then redis.call('HSET', key, 'state', 1) end
  end
  return redis.call('HMGET', key, 'queue', 'priority', 'message')
end

local function close_join(key, base)
  local px = redis.call('PTTL', key)
  if base ~= '' then close_chord(base, px ~= -2) end
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
local base = redis.call('HGET', KEYS[1], 'base')
local before, again = false, false
if base then before = chord_is_ours(base) else before = complete_join(KEYS[1]) end
for at = 1, #ARGV, {GIVING} do again = give_part(at) or again end
if before and not again then return false end
return complete_join(KEYS[1])
""",
)
"""A part that comes when the join is complete tells of it only if it came before: its first try may have died."""
_GIVE_THEIRS: Final = Script(
    "give to chord",
    JOINS
    + f"""
local before, last, again = chord_is_ours(KEYS[1]), #ARGV - {CHORD_GIVING - 1}, false
for at = 1, #ARGV, {CHORD_GIVING} do again = give_theirs(at) or again end
if before and not again then return false end
return complete_theirs(last)
""",
)
_CLOSE: Final = Script("close join", JOINS + "close_join(ARGV[1], ARGV[2])")


def join_key(id_: str, prefix: str) -> str:
    """Return the key of a join; `prefix` is what every key begins with."""
    return f"{prefix}celeriac:join:{id_}"


def opening(
    join: Join, prefix: str, moment: float, *, alone: bool
) -> tuple[str, int, int, int, int, str, int, bytes, str]:
    """Return a join as `open_join` takes it; `moment` is now, in seconds since 1970, `alone` is said in a cluster.

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
        "" if alone else chord_base(join.id, prefix),
    )


def giving(part: Part, prefix: str) -> tuple[Argument, ...]:
    """Return a part as `give_part` takes it."""
    return join_key(part.join, prefix), part.member, part.place, "+" if part.succeeded else "-", part.payload


def growing(growth: Growth, prefix: str) -> tuple[Argument, ...]:
    """Return a growth as `grow_join` takes it."""
    if growth.theirs:
        return chord_growing(growth, prefix)
    return join_key(growth.join, prefix), growth.member, growth.successes, growth.failures


def closing(id_: str, prefix: str, *, alone: bool) -> tuple[str, str]:
    """Return a join as `close_join` takes it."""
    return join_key(id_, prefix), "" if alone else chord_base(id_, prefix)


class Joins:
    """The joins of one store, each operation one script a join."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    def open(self, joins: Sequence[Join], moment: float, timeout: float) -> None:
        """Open joins that do not exist yet."""
        rows = [opening(join, self._prefix, moment, alone=self._link.is_cluster) for join in joins]
        self._link.scripts(_OPEN, [([row[0]], row) for row in rows], timeout=timeout)

    def grow(self, growths: Sequence[Growth], timeout: float) -> None:
        """Have joins wait for more members, each once."""
        calls: dict[str, list[Argument]] = {}
        for growth in growths:
            row = growing(growth, self._prefix)
            calls.setdefault(str(row[0]), []).extend(row)
        self._link.scripts(_GROW, [([key], row) for key, row in calls.items()], timeout=timeout)

    def give(self, parts: Sequence[Part], moment: float, timeout: float) -> list[Message]:
        """Give parts to their joins; return the messages of those that are complete and not closed."""
        calls: dict[str, list[Argument]] = {}
        theirs: dict[str, list[Argument]] = {}
        for part in parts:
            if part.message is None:
                calls.setdefault(join_key(part.join, self._prefix), []).extend(giving(part, self._prefix))
            else:
                row = chord_giving(part, part.message, self._prefix, moment)
                theirs.setdefault(chord_base(part.join, self._prefix), []).extend(row)
        answers = self._scripts(_GIVE, calls, timeout) + self._scripts(_GIVE_THEIRS, theirs, timeout)
        return [open_envelope(answer[2], answer[0].decode())[0] for answer in answers if answer is not None]

    def message(self, id_: str, timeout: float) -> Message | None:
        """Return the message of an open join."""
        fields = (b"state", b"queue", b"message")
        state, queue, raw = self._link.run(b"HMGET", join_key(id_, self._prefix), *fields, timeout=timeout)
        return None if state in (None, b"2") else open_envelope(raw, queue.decode())[0]

    def parts(self, id_: str, timeout: float) -> list[Part]:
        """Return what the members of a join gave, by their places."""
        key, base = join_key(id_, self._prefix), chord_base(id_, self._prefix)
        if not self._link.is_cluster:
            return (
                []
                if self._link.run(b"HGET", key, b"state", timeout=timeout) == b"2"
                else self._chord(id_, base, timeout)
            )
        fields = self._link.run(b"HGETALL", key, timeout=timeout)
        found = [
            _part(id_, name[len(_MEMBER) :].decode(), value)
            for name, value in zip(fields[::2], fields[1::2], strict=True)
            if name.startswith(_MEMBER)
        ]
        return sorted(found, key=lambda part: (part.place, part.member))

    def close(self, ids: Collection[str], timeout: float) -> None:
        """Drop the parts of joins and take no more."""
        rows = [closing(id_, self._prefix, alone=self._link.is_cluster) for id_ in ids]
        self._link.scripts(_CLOSE, [([row[0]], row) for row in rows], timeout=timeout)

    def _scripts(self, script: Script, calls: dict[str, list[Argument]], timeout: float) -> list[Any]:
        return self._link.scripts(script, [([key], row) for key, row in calls.items()], timeout=timeout)

    def _chord(self, id_: str, base: str, timeout: float) -> list[Part]:
        """Return what was given where Celery's workers give: it does not say here by whom, nor what became of it."""
        if self._link.run(b"TYPE", base + ".j", timeout=timeout) == b"list":
            payloads = self._link.run(b"LRANGE", base + ".j", 0, -1, timeout=timeout)
            return [_unread(id_, place, payload) for place, payload in enumerate(payloads)]
        found = self._link.run(b"ZRANGE", base + ".j", 0, -1, b"WITHSCORES", timeout=timeout)
        return [
            _unread(id_, UNPLACED if score == b"inf" else int(score), payload)
            for payload, score in zip(found[::2], found[1::2], strict=True)
        ]


def _unread(id_: str, place: int, payload: bytes) -> Part:
    """Return a part of which only the payload says whose it is, and whether it succeeded."""
    return Part(join=id_, member="", place=place, succeeded=True, payload=payload)


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
