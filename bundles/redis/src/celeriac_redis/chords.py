"""The keys in which Celery's workers count the members of a chord, and what ours do with them.

    <group>.j   what the members gave, each `[1, id, state, value]` as the result serializer writes it: a sorted set by
                their places, or a list where Celery's option `result_chord_ordered` is off
    <group>.d   `<id>:<place>` of each that has given: it counts once, whatever its runs return
    <group>.s   how many members there are; a client of Celery's writes it before it publishes the last one
    <group>.t   how many were added since
    <group>.c   who publishes the body, set with the part that makes the chord complete; `done` when that is over

Whoever sets `.c` publishes the body, and nobody else does. Celery's workers put a random word there, which lapses; ours
a word that stays until the body is published, since their message of the complete join is not lost with a worker.
Source: Celery 5.7, `celery/backends/redis.py`. Workers of older ones know neither `.d` nor `.c`.
"""

from __future__ import annotations

from typing import Final

from celeriac.model.join import UNPLACED, Growth, Part
from celeriac.model.message import Message
from celeriac.model.record import GROUP_PREFIX
from celeriac_redis.envelope import seal
from celeriac_redis.wire import Argument

__all__ = ["CHORDS", "CHORD_GIVING", "CLAIM", "DONE", "chord_base", "chord_giving", "chord_growing"]

CHORD_GIVING: Final = 8
"""How many arguments `chord_giving` returns."""
CLAIM: Final = b"celeriac"
DONE: Final = b"done"

CHORDS: Final = (
    f"""
local CHORD_FIELDS, CLAIM, DONE = {CHORD_GIVING}, '{CLAIM.decode()}', '{DONE.decode()}'
"""
    + """
local function keep_chord(base, px)
  if px <= 0 then return end
  for _, suffix in ipairs({'', '.j', '.d', '.t', '.s'}) do redis.call('PEXPIRE', base .. suffix, px) end
end

-- Take the part of a member in; return whether it had come before, nil where it comes too late.
local function give_to_chord(base, member, place, payload)
  if redis.call('GET', base .. '.c') == DONE then return nil end
  if redis.call('SADD', base .. '.d', member .. ':' .. place) == 0 then return true end
  if redis.call('TYPE', base .. '.j').ok == 'list' then redis.call('RPUSH', base .. '.j', payload)
  else redis.call('ZADD', base .. '.j', place, payload) end
  return false
end

-- Whether all members have ended. `enough` says that it is complete before that, if it is not over.
local function chord_is_complete(base, enough)
  local size, grown = redis.call('GET', base .. '.s'), redis.call('GET', base .. '.t')
  if not size or enough then return size end
  local ordered = redis.call('TYPE', base .. '.j').ok ~= 'list'
  return redis.call(ordered and 'ZCARD' or 'LLEN', base .. '.j') == tonumber(size) + tonumber(grown or 0)
end

local function chord_is_ours(base) return redis.call('GET', base .. '.c') == CLAIM end

-- Become the side that publishes the body; return whether nobody was, true also where ours is unless `once`.
local function claim_chord(base, once)
  local px, claimed = redis.call('PTTL', base .. '.s'), false
  if px > 0 then claimed = redis.call('SET', base .. '.c', CLAIM, 'NX', 'PX', px)
  else claimed = redis.call('SET', base .. '.c', CLAIM, 'NX') end
  return claimed and true or (not once and chord_is_ours(base))
end

-- Forget a chord that ours has ended. One that a client of ours opened is forgotten whoever has, but the word of who
-- it was is left to him.
local function close_chord(base, opened)
  local ours = chord_is_ours(base)
  if ours or opened then redis.call('UNLINK', base .. '.j', base .. '.d', base .. '.t', base .. '.s') end
  if ours then redis.call('SET', base .. '.c', DONE, 'PX', 300000) end
end

local function grow_chord(base, member, px)
  if redis.call('GET', base .. '.c') == DONE or redis.call('SADD', base .. '.d', '+' .. member) == 0 then return end
  redis.call('INCR', base .. '.t')
  keep_chord(base, px)
end

-- A member of a chord that a client of Celery's opened: its part, and what is published if it is complete by that.
local function give_theirs(at)
  local before = give_to_chord(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if before ~= nil then keep_chord(ARGV[at], tonumber(ARGV[at + 4])) end
  return before
end

local function complete_theirs(at, once)
  if not chord_is_complete(ARGV[at]) or not claim_chord(ARGV[at], once) then return false end
  return {ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]}
end
"""
)
"""Lua functions for any script; `base` is the key of the group, and `at` where in ARGV begins what `chord_giving`
returns."""


def chord_base(id_: str, prefix: str) -> str:
    """Return the key of a group, with which those of its chord begin; `prefix` is what every key begins with."""
    return f"{prefix}{GROUP_PREFIX}{id_}"


def chord_giving(part: Part, message: Message, prefix: str, moment: float) -> tuple[Argument, ...]:
    """Return a part for a chord that a client of Celery's opened, and what is published if it is complete by that.

    Raises: EncodeError: the message cannot be written.
    """
    return (
        chord_base(part.join, prefix),
        part.member,
        _score(part.place),
        part.payload,
        _milliseconds(part.expires_seconds),
        message.routing_key,
        message.priority,
        seal(message, moment),
    )


def chord_growing(growth: Growth, prefix: str) -> tuple[Argument, ...]:
    """Return a growth of such a chord as the rows of growths have it: nothing where it says what is needed more."""
    return chord_base(growth.join, prefix), growth.member, "", _milliseconds(growth.expires_seconds)


def _milliseconds(seconds: float | None) -> int:
    return 0 if seconds is None else max(1, round(seconds * 1000))


def _score(place: int) -> int | str:
    return "+inf" if place == UNPLACED else place
