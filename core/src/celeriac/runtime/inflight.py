"""What this worker holds: every delivery from the moment it is taken to the moment it is settled."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable

from msgspec import Struct

from celeriac.kernel.clock import Clock
from celeriac.model.message import Delivery
from celeriac.model.request import Request

__all__ = ["Held", "Inflight"]


class Held(Struct, gc=False):
    """One delivery and its run. `delivery` is None once it is settled before the run (at-most-once tasks)."""

    request: Request
    delivery: Delivery | None


class Inflight:
    """The set of held deliveries by request key; every method is called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[int, Held] = {}
        self._running: dict[int, float] = {}
        self._changed = threading.Condition()
        self._keys = itertools.count(1)
        self.last_start: float = clock.monotonic()
        self.waiters: int = 0

    def __len__(self) -> int:
        return len(self._held)

    def next_key(self) -> int:
        """Return a key no other run of this process has."""
        return next(self._keys)

    def add(self, held: Iterable[Held]) -> None:
        """Remember deliveries that were admitted."""
        self._held.update((one.request.key, one) for one in held)

    def get(self, key: int) -> Held | None:
        """Return what is held under a key."""
        return self._held.get(key)

    def keys(self) -> set[int]:
        """Return the key of every run that is not settled."""
        return set(self._held)

    def all(self) -> list[Held]:
        """Return everything that is held."""
        return list(self._held.values())

    def deliveries(self) -> list[Delivery]:
        """Return every delivery that is held."""
        return [held.delivery for held in list(self._held.values()) if held.delivery is not None]

    def started(self, key: int) -> None:
        """Note that a run began."""
        self.last_start = self._running[key] = self._clock.monotonic()

    def ended(self, key: int) -> None:
        """Note that a run ended; it is held until it is settled."""
        self._running.pop(key, None)

    def remove(self, keys: Iterable[int]) -> None:
        """Forget what is settled, and wake who waits for room or for the end."""
        for key in keys:
            self._held.pop(key, None)
            self._running.pop(key, None)
        if self.waiters:
            with self._changed:
                self._changed.notify_all()

    def running_for(self, key: int) -> float | None:
        """Return for how many seconds a run has gone on; None if it has not begun, or has ended."""
        began = self._running.get(key)
        return None if began is None else self._clock.monotonic() - began

    def runs(self) -> list[tuple[Held, float]]:
        """Return every run that has begun and not ended, with its seconds so far, the oldest first."""
        now = self._clock.monotonic()
        pairs = [
            (self._held.get(key), now - began)
            for key, began in sorted(self._running.copy().items(), key=lambda pair: pair[1])
        ]
        return [(held, seconds) for held, seconds in pairs if held is not None]

    @property
    def running(self) -> int:
        """How many runs have begun and not ended."""
        return len(self._running)

    def has_started(self, key: int) -> bool:
        """Whether a run has begun and not ended."""
        return key in self._running

    def since_last_start(self) -> float:
        """Return for how many seconds no run has begun."""
        return self._clock.monotonic() - self.last_start

    def wait_until_at_most(self, count: int, timeout: float, *, unless: Callable[[], bool] | None = None) -> bool:
        """Wait until no more than `count` deliveries are held; return False on timeout.

        `wake` makes it look whether `unless` has become true, and then to wait no longer.
        """
        with self._changed:
            self.waiters += 1
            try:
                self._changed.wait_for(lambda: len(self._held) <= count or (unless is not None and unless()), timeout)
                return len(self._held) <= count
            finally:
                self.waiters -= 1

    def wake(self) -> None:
        """Make waiting calls look again."""
        with self._changed:
            self._changed.notify_all()
