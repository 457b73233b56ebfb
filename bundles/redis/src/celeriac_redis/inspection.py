"""Counting, showing and purging what waits."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic

from celeriac.model.message import Message
from celeriac.spi.transport import QueueDepth
from celeriac_redis.envelope import moment_of, open_envelope
from celeriac_redis.keys import Keys
from celeriac_redis.link import Link
from celeriac_redis.scripts import DEPTH, PURGE

__all__ = ["Inspection"]

_MEMBER_LENGTH = 24
"""What stands before the message in a delayed one: when, number, place, priority step."""


class Inspection:
    """Looks at queues over one link."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def depths(self, queues: Collection[str] | None, timeout: float) -> list[QueueDepth]:
        """Count the messages of each queue, by name; one that does not exist has none."""
        end = monotonic() + timeout
        if queues is None:
            found = self._link.run(b"SMEMBERS", self._keys.queues, timeout=timeout)
            queues = [name.decode() for name in found]
        names = sorted(set(queues))
        calls = []
        for name in names:
            keys = self._keys.queue(name)
            calls.append((keys.lists, (keys.base,)))
        replies = self._link.scripts(DEPTH, calls, timeout=end - monotonic())
        return [_depth(name, *reply) for name, reply in zip(names, replies, strict=True)]

    def browse(self, queue: str, limit: int, timeout: float) -> list[Message]:
        """Show what would come next: what is ready, then what is delayed, by the moment when it is due."""
        keys = self._keys.queue(queue)
        raws: list[bytes] = []
        end = monotonic() + timeout
        for key in keys.lists:
            if len(raws) < limit:
                # What comes next is at the right end of a list.
                found = self._link.run(b"LRANGE", key, len(raws) - limit, -1, timeout=end - monotonic())
                raws += reversed(found)
        if len(raws) < limit:
            last = limit - len(raws) - 1
            found = self._link.run(b"ZRANGE", keys.base + b"delayed", 0, last, timeout=end - monotonic())
            raws += [member[_MEMBER_LENGTH:] for member in found]
        return [open_envelope(raw, queue)[0] for raw in raws]

    def purge(self, queue: str, timeout: float) -> int:
        """Delete what waits and what is delayed; return how many messages that was."""
        end = monotonic() + timeout
        keys = self._keys.queue(queue)
        total, more = 0, 1
        while more:
            count, more = self._link.script(PURGE, keys.lists, (keys.base, keys.main), timeout=end - monotonic())
            total += count
        return total


def _depth(name: str, waiting: int, delayed: int, held: int, now: bytes, *beginnings: bytes) -> QueueDepth:
    moments = [moment for moment in map(moment_of, beginnings) if moment is not None]
    oldest = max(int(now) / 1e6 - min(moments), 0.0) if moments else None
    return QueueDepth(queue=name, waiting=waiting, delayed=delayed, held=held, oldest_seconds=oldest)
