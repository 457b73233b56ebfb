"""Decide how many slots a pool should have, and why.

1. Look once a second at how many slots are busy and how much waits: what the worker holds and has not started, and,
   if that is nothing, what the broker holds.
2. Every slot busy and something waits: as many more as wait, at most twice as many as there are.
3. Nothing waits and fewer than all were busy at each look for a while: as many as were busy at once in that while.

Growing is quick and shrinking slow, as with Celery's: a slot too many costs memory, one too few makes people wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celeriac.errors import StoreError
from celeriac.kernel.clock import Clock
from celeriac.runtime.inflight import Inflight
from celeriac.runtime.pool_control import PoolControl
from celeriac_autoscale.bounds import Bounds

__all__ = ["Autoscaler"]

logger: logging.Logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class Autoscaler:
    """Sizes one pool, from a thread of its own.

    Args:
        bounds: The most slots and the fewest.
        pool: What is told the size.
        inflight: What the worker holds.
        queued: Returns how many messages wait at the broker; 0 where nobody knows. May raise StoreError.
        idle_seconds: For how long slots must have been idle before they are given up.
        clock: What that is measured by.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        pool: PoolControl,
        inflight: Inflight,
        queued: Callable[[], int],
        idle_seconds: float,
        clock: Clock,
    ) -> None:
        self.bounds = bounds
        self._pool = pool
        self._inflight = inflight
        self._queued = queued
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._since = clock.monotonic()
        self._most_busy = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="celeriac-autoscale", daemon=True)

    def start(self) -> None:
        """Bring the pool within its bounds and start the thread."""
        self._resize(self.bounds.nearest(self._pool.slots), f"between {self.bounds.fewest} and {self.bounds.most}")
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop looking; the pool stays as it is."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def look(self) -> None:
        """Decide once."""
        slots, busy = self._pool.slots, self._inflight.running
        held = max(0, len(self._inflight) - busy)
        self._most_busy = max(self._most_busy, busy)
        if busy >= slots:
            waiting = held or self._queued()
            self._begin_anew()
            if waiting:
                more = slots + max(1, min(waiting, slots))
                self._resize(self.bounds.nearest(more), f"{waiting} tasks wait and all slots are busy")
        elif held:
            self._begin_anew()
        elif self._clock.monotonic() - self._since >= self._idle_seconds:
            self._resize(
                min(slots, self.bounds.nearest(self._most_busy)),
                f"no more than {self._most_busy} were busy for {self._idle_seconds:g} s",
            )
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._since, self._most_busy = self._clock.monotonic(), 0

    def _resize(self, slots: int, reason: str) -> None:
        if slots != self._pool.slots:
            self._pool.resize(slots, who="autoscale", reason=reason)

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except StoreError as error:
                logger.debug("the queues were not counted: %s", error, extra={"event": "autoscale_blind"})
            except Exception:  # a pool that fails once is asked again
                logger.exception("autoscale failed", extra={"event": "internal_error"})
