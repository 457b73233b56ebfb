"""The lease of one holder, on each queue that it takes from.

A lease exists only while something is held: who holds nothing can lose nothing. Its moment of lapse is in the server's
time. Its token changes when it lapsed, so that `renew` can tell, whoever noticed first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable
from time import monotonic
from typing import Final

from celeriac.model.message import Delivery
from celeriac_redis.keys import Keys
from celeriac_redis.link import Link
from celeriac_redis.scripts import ANNOUNCE, RENEW, RETAIN
from celeriac_redis.wire import Argument

__all__ = ["Leases"]

_LEAST_KEPT_SECONDS: Final = 3600
_KEPT, _MORE = 1, 2


class Leases:
    """What one connection knows of its holder's leases."""

    def __init__(self, link: Link, keys: Keys, holder: str, seconds: float) -> None:
        self.holder = holder
        self.seconds = seconds
        self.microseconds: int = int(seconds * 1e6)
        self.connection: str = os.urandom(8).hex()
        self._link = link
        self._keys = keys
        self._lock = threading.Lock()
        self._tokens: dict[str, str] = {}
        self._announced: set[str] = set()

    def announce(self, queues: Iterable[str], timeout: float) -> None:
        """Write down, before the first take, that this holder takes from these queues."""
        new = [queue for queue in queues if queue not in self._announced]
        if new:
            calls: list[tuple[list[bytes], list[Argument]]] = [
                ([self._keys.holder(self.holder)], [self._kept, *new]),
                ([self._keys.queues], [0, *new]),
            ]
            self._link.scripts(ANNOUNCE, calls, timeout=timeout)
            self._announced.update(new)

    def learn(self, queue: str, token: bytes) -> None:
        """Remember the token of a lease unless an older one is remembered, of whose lapse `renew` must tell."""
        if token:
            with self._lock:
                self._tokens.setdefault(queue, token.decode())

    def renew(self, timeout: float) -> bool:
        """Renew on every queue; return False if one of the leases had lapsed, with everything of it returned."""
        end = monotonic() + timeout
        kept = True
        for queue in self._queues(end):
            keys = self._keys.queue(queue)
            with self._lock:
                known = self._tokens.get(queue, "")
            state = _MORE
            while state == _MORE:
                args = (keys.base, self.holder, self.microseconds, known)
                state, token = self._link.script(RENEW, [keys.main], args, timeout=end - monotonic())
            with self._lock:
                self._tokens.pop(queue, None)
                if token:
                    self._tokens[queue] = token.decode()
            kept = kept and state == _KEPT
        return kept

    def retain(self, deliveries: Collection[Delivery], timeout: float) -> int:
        """Take over from older connections of this holder; hand back what is held beyond these; return how many."""
        end = monotonic() + timeout
        handed_back = 0
        for queue in self._queues(end):
            keys = self._keys.queue(queue)
            fields = [delivery.tag for delivery in deliveries if delivery.queue == queue]
            more = 1
            while more:
                args = (keys.base, self.holder, self.connection, self.microseconds, *fields)
                count, more, token = self._link.script(RETAIN, [keys.main], args, timeout=end - monotonic())
                handed_back += count
            self.learn(queue, token)
        return handed_back

    def _queues(self, end: float) -> list[str]:
        """Return the queues that this holder takes from, over whichever connection.

        Those of this connection are written down again: the set may have been deleted, with all else, by somebody.
        """
        key = self._keys.holder(self.holder)
        own = sorted(self._announced)
        self._link.script(ANNOUNCE, [key], [self._kept, *own], timeout=end - monotonic())
        found = self._link.run(b"SMEMBERS", key, timeout=end - monotonic())
        return sorted({name.decode() for name in found}.union(own))

    @property
    def _kept(self) -> int:
        return int(max(_LEAST_KEPT_SECONDS, 10 * self.seconds))
