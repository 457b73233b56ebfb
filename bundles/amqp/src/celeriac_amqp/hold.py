"""What a connection holds, for how long, and where: at the queue it came from, or in the connection's own."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from msgspec import Struct

from celeriac.model.message import Delivery

__all__ = ["Claim", "Hold"]

_SAME_SECONDS: Final = 0.1
"""Takes within that time count as one, so that there are never many to remember."""


class Claim(Struct, frozen=True, gc=False):
    """A delivery that one thread settles. `moved`: its tag in the connection's own queue, if it lies there now."""

    number: int
    delivery: Delivery
    moved: int | None = None


class Hold:
    """What this connection holds, by the delivery tag under which it came. Each is settled by one thread, once.

    How long something is held costs nothing per message: each take notes its highest tag, and tags only grow. Without
    `ages` that is not noted, and nobody may ask.
    """

    def __init__(self, *, ages: bool = True) -> None:
        self.name: str = f"{os.getpid():x}-{os.urandom(6).hex()}"
        self._ages = ages
        self._lock = threading.Lock()
        self._held: dict[int, Delivery] = {}
        self._moved: dict[int, tuple[int, float]] = {}
        """The tag in the connection's own queue, and since when it is there."""
        self._takes: deque[tuple[float, int]] = deque()
        self._aged = 0
        """All tags up to this one came longer ago than was asked for last."""

    def tag(self, number: int) -> tuple[str, int]:
        """Return the tag of a delivery, by which it is settled."""
        return (self.name, number)

    def add(self, deliveries: Iterable[Delivery], moment: float | None = None) -> None:
        """Hold what was taken at one moment, that of now if none is given, in seconds of the monotonic clock."""
        added: dict[int, Delivery] = {delivery.tag[1]: delivery for delivery in deliveries}
        if not added:
            return
        now = monotonic() if moment is None else moment
        with self._lock:
            self._held.update(added)
            if self._ages:
                takes, highest = self._takes, max(added)
                if takes and now - takes[-1][0] < _SAME_SECONDS:
                    now, highest = takes[-1][0], max(highest, takes.pop()[1])
                takes.append((now, highest))

    def claim(self, tag: Any) -> Claim | None:
        """Take a delivery out in order to settle it; None if it is not held here."""
        name, number = tag if isinstance(tag, tuple) and len(tag) == 2 else ("", 0)
        if name != self.name:
            return None
        with self._lock:
            delivery = self._held.pop(number, None)
            if delivery is None:
                return None
            return Claim(number, delivery, self._moved[number][0] if number in self._moved else None)

    def restore(self, claimed: Iterable[Claim]) -> None:
        """Put back what could not be settled."""
        with self._lock:
            self._held.update((claim.number, claim.delivery) for claim in claimed)

    def forget(self, claimed: Iterable[Claim]) -> None:
        """Forget where what was settled had been moved."""
        with self._lock:
            for claim in claimed:
                self._moved.pop(claim.number, None)

    def longer_than(self, seconds: float, now: float | None = None) -> list[Delivery]:
        """Return what has lain where it is for longer than that, and maybe what once was asked about a shorter time."""
        limit = (monotonic() if now is None else now) - seconds
        with self._lock:
            takes = self._takes
            while takes and takes[0][0] <= limit:
                self._aged = takes.popleft()[1]
            if not self._held:
                return []
            aged, moved = self._aged, self._moved
            return [
                delivery
                for number, delivery in self._held.items()
                if (moved[number][1] <= limit if number in moved else number <= aged)
            ]

    def move(self, number: int, tag: int, now: float | None = None) -> Claim | None:
        """Note that a delivery lies in the connection's own queue under a tag; return where it lay, to be let go.

        None: somebody settles it, or has settled it.
        """
        with self._lock:
            delivery = self._held.get(number)
            if delivery is None:
                return None
            before = self._moved.get(number)
            self._moved[number] = (tag, monotonic() if now is None else now)
            return Claim(number, delivery, None if before is None else before[0])

    def counts(self) -> Counter[str]:
        """Return how many deliveries of each queue are held, wherever they lie."""
        with self._lock:
            return Counter(delivery.queue for delivery in self._held.values())

    def moved(self) -> int:
        """Return how many deliveries lie in the connection's own queue."""
        with self._lock:
            return len(self._moved)
