"""Taking messages: one script call, however many messages; decoded afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from msgspec import Struct

from celeriac.errors import TransportLost
from celeriac.model.message import Delivery
from celeriac_redis.bell import Bell
from celeriac_redis.envelope import open_envelope
from celeriac_redis.keys import Keys, QueueKeys
from celeriac_redis.leases import Leases
from celeriac_redis.scripts import TAKE
from celeriac_redis.wire import Argument

__all__ = ["Taken", "Taker"]

_MOST_MESSAGES: Final = 1000
_MOST_BYTES: Final = 16 << 20
_NUMBERS: Final = tuple(f"{number:04d}" for number in range(_MOST_MESSAGES))

_OK, _AGAIN, _SUPERSEDED = range(3)


class Taken(Struct, frozen=True):
    """What one call brought.

    If nothing: in how many seconds something will be there by itself, if that is known; `again` where the call was
    busy with returning what somebody had held, and the next one may bring something.
    """

    deliveries: list[Delivery]
    wait_seconds: float | None = None
    again: bool = False


class Taker:
    """Takes for one holder over any bell."""

    def __init__(self, keys: Keys, leases: Leases, *, split: bool) -> None:
        self._keys = keys
        self._leases = leases
        self._split = split
        self.revoked: str = ""
        """The key of the set of revoked ids, if it lies in this store and somebody wants to know whether it exists."""
        self._nonces = count()
        self._start = os.urandom(5).hex() + "-"

    def take(self, bell: Bell, queues: Sequence[str], limit: int, timeout: float) -> Taken:
        """Take up to `limit` messages, of the first queues that have some; in a cluster queue by queue.

        Raises: TransportLost: a newer connection of this holder takes for it now.
        """
        wanted = [self._keys.queue(name) for name in queues]
        groups = [[queue] for queue in wanted] if self._split else [wanted]
        deliveries: list[Delivery] = []
        waits: list[float] = []
        again = False
        for group in groups:
            taken = self._take(bell, group, min(limit - len(deliveries), _MOST_MESSAGES), timeout)
            deliveries += taken.deliveries
            again = again or taken.again
            if taken.wait_seconds is not None:
                waits.append(taken.wait_seconds)
            if len(deliveries) >= limit:
                break
        return Taken(deliveries, min(waits, default=None), again=again and not deliveries)

    def nonce(self) -> str:
        """Return what tells one taking from every other."""
        return self._start + format(next(self._nonces), "x")

    def _take(self, bell: Bell, queues: Sequence[QueueKeys], limit: int, timeout: float) -> Taken:
        nonce = self.nonce()
        keys = [key for queue in queues for key in queue.watched]
        args: list[Argument] = [
            self._leases.holder,
            self._leases.connection,
            nonce,
            limit,
            _MOST_BYTES,
            self._leases.microseconds,
            self._keys.steps,
            self.revoked,
            *[queue.base for queue in queues],
            *[queue.main for queue in queues],
        ]
        state, stamp, wait, tokens, counts, messages, unrevoked = bell.ask(TAKE, keys, args, timeout)
        if state == _SUPERSEDED:
            raise TransportLost("A newer connection of this worker has taken over; this one takes nothing more.")
        if state == _AGAIN:
            return Taken([], 0.0, again=True)
        if not messages:
            return Taken([], None if wait < 0 else wait / 1e6)
        for queue, token in zip(queues, tokens, strict=True):
            self._leases.learn(queue.name, token)
        return Taken(self._deliveries(queues, stamp.decode(), nonce, counts, messages, unrevoked=unrevoked == 1))

    def _deliveries(
        self,
        queues: Sequence[QueueKeys],
        stamp: str,
        nonce: str,
        counts: list[int],
        messages: list[Any],
        *,
        unrevoked: bool,
    ) -> list[Delivery]:
        found: list[Delivery] = []
        number = 0
        counted = iter(counts)
        for queue in queues:
            name = queue.name
            for step in self._keys.steps:
                end = f"{step}.{nonce}"
                for _ in range(next(counted)):
                    message, before = open_envelope(messages[number], name)
                    tag = stamp + _NUMBERS[number] + end
                    found.append(
                        Delivery(message=message, queue=name, tag=tag, deliveries=before + 1, unrevoked=unrevoked)
                    )
                    number += 1
        return found
