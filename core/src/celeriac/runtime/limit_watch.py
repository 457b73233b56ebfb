"""The watch over the limits of runs in threads: one thread, begun with the first run that has a limit.

1. A slot writes when its run reaches a limit, then wakes the watch if that is before the watch would look by itself.
2. The watch looks at all slots: it raises soft limits, ends runs at their hard limit, tells stuck threads to end.
3. It sleeps until the next moment there is. While it looks, every new limit wakes it: none falls between.

So a pool without limits has no such thread, and a run with one costs a look at the clock and a comparison.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from celeriac.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from celeriac.model.request import Request
from celeriac.runtime.interruption import AGAIN_SECONDS, PATIENCE_SECONDS, Interruption

__all__ = ["LimitWatch", "RunLimits", "WatchedPool", "WatchedSlot"]

log: logging.Logger = logging.getLogger(__name__)


class RunLimits(Struct):
    """When a run reaches its limits, by `time.monotonic()`; infinite where it has none, or was told."""

    request: Request
    soft_at: float
    hard_at: float

    @classmethod
    def of(cls, request: Request, soft: float | None, hard: float | None) -> RunLimits:
        """Return the limits of a run that begins now, in seconds; None is no limit."""
        now = time.monotonic()
        return cls(request, math.inf if soft is None else now + soft, math.inf if hard is None else now + hard)


class WatchedSlot(Protocol):
    """A thread that runs tasks, as the watch sees it."""

    limits: RunLimits | None
    interruption: Interruption
    told_to_end: float | None
    """Since when the thread is to end, by `time.monotonic()`; None where that is not so, or cannot be missed."""


S = TypeVar("S", bound=WatchedSlot)


class WatchedPool(Protocol[S]):
    """A pool whose slots are threads, as the watch sees it."""

    @property
    def slots(self) -> Sequence[S]:
        """The slots there are now."""

    @property
    def stuck(self) -> Sequence[S]:
        """Threads that were given up and have not ended."""

    def end_by_force(self, slot: S, request: Request, error: Exception) -> bool:
        """End a run that has reached its hard limit."""


class LimitWatch(Generic[S]):
    """Watches the slots of one pool."""

    def __init__(self, pool: WatchedPool[S], name: str) -> None:
        self._pool = pool
        self._name = name
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._wakes_at = math.inf
        self._stopping = False
        self._thread: threading.Thread | None = None

    def expect(self, limits: RunLimits) -> None:
        """Look again when the first of these limits is reached, if not before. They must be in their slot by now."""
        self._expect(min(limits.soft_at, limits.hard_at))

    def expect_end(self) -> None:
        """Look now: a thread was told to end."""
        self._expect(-math.inf)

    def _expect(self, moment: float) -> None:
        if self._thread is None:
            self._start()
        if moment < self._wakes_at:
            self._look.set()

    def stop(self) -> None:
        """End the thread; what it is telling is told then."""
        with self._lock:
            self._stopping = True
        self._look.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        while not self._stopping:
            self._look.clear()
            self._wakes_at = math.inf
            try:
                wakes_at = self._look_at_all()
            except Exception:  # whatever it is, the other limits must go on being kept
                log.exception("watching limits failed", extra={"event": "internal_error"})
                wakes_at = time.monotonic() + PATIENCE_SECONDS
            self._wakes_at = wakes_at
            self._look.wait(None if wakes_at == math.inf else max(0.0, wakes_at - time.monotonic()))

    def _look_at_all(self) -> float:
        now, wakes_at = time.monotonic(), math.inf
        for slot in self._pool.slots:
            limits = slot.limits
            if limits is not None:
                wakes_at = min(wakes_at, self._keep(slot, limits, now))
        for slot in list(self._pool.stuck):
            if slot.told_to_end is not None:
                wakes_at = min(wakes_at, _end(slot, now, slot.told_to_end))
        return wakes_at

    def _keep(self, slot: S, limits: RunLimits, now: float) -> float:
        """Do what is due for one run; return when to look again."""
        request = limits.request
        if now >= limits.hard_at and request.time_limit is not None:
            self._pool.end_by_force(slot, request, TimeLimitExceeded(request.time_limit))
            return math.inf
        if now >= limits.soft_at:
            seconds = request.soft_time_limit
            patient = now < limits.soft_at + PATIENCE_SECONDS
            if not slot.interruption.interrupt(request, lambda: SoftTimeLimitExceeded(seconds), patient=patient):
                return min(now + AGAIN_SECONDS, limits.hard_at)
            limits.soft_at = math.inf
        return min(limits.soft_at, limits.hard_at)


def _end(slot: WatchedSlot, now: float, since: float) -> float:
    patient = now < since + PATIENCE_SECONDS
    if slot.interruption.interrupt(slot, lambda: SystemExit("its task was given up"), patient=patient):
        slot.told_to_end = None
        return math.inf
    return now + AGAIN_SECONDS
