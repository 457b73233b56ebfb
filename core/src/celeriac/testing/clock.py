"""A clock that stands still until it is told to move."""

from __future__ import annotations

import threading
import time as _time
from collections import Counter

from celeriac.kernel.clock import Clock

__all__ = ["VirtualClock"]

_START = 1_700_000_000.0
"""A moment in November 2023; nothing depends on which."""


class VirtualClock(Clock):
    """A clock for tests: `advance` moves it and wakes whoever has waited long enough.

    Give it to a service by `Context(clock=...)`. Threads that wait by `wait` or `sleep` block, in real time, until
    somebody advances the clock or notifies them.
    """

    def __init__(self, start: float = _START) -> None:
        self._lock = threading.Condition()
        self._start = start
        self._elapsed = 0.0
        self._waiting: Counter[threading.Condition] = Counter()

    def time(self) -> float:
        """Return the virtual moment, in seconds since 1970-01-01 UTC."""
        with self._lock:
            return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return the seconds by which the clock has been advanced."""
        with self._lock:
            return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both clocks on and wake every waiter, who looks whether its time has come.

        The caller must not hold a condition that somebody waits on, unless it is reentrant.
        """
        with self._lock:
            self._elapsed += seconds
            waiting = list(self._waiting)
        # A waiter holds its condition until it truly waits, so that this cannot come too early for anyone.
        for condition in waiting:
            with condition:
                condition.notify_all()

    def correct(self, seconds: float) -> None:
        """Shift the date alone, as an administrator or NTP does: `monotonic` does not move and nobody is woken."""
        with self._lock:
            self._start += seconds

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on `condition`, which the caller holds, until notified or until the clock has passed `timeout`.

        Like any wait on a condition it may return early, with True, when the clock moved less than that.
        """
        if timeout is None:
            with self._counted(condition):
                return condition.wait()
        if timeout <= 0:
            return condition.wait(0)
        deadline = self.monotonic() + timeout
        with self._counted(condition):
            if self.monotonic() < deadline:
                condition.wait()
        return self.monotonic() < deadline

    def sleep(self, seconds: float) -> None:
        """Block this thread until the clock has been advanced by `seconds`."""
        deadline = self.monotonic() + seconds
        condition = threading.Condition()
        with condition:
            while (left := deadline - self.monotonic()) > 0:
                self.wait(condition, left)

    def await_waiters(self, count: int = 1, *, timeout: float = 5.0) -> bool:
        """Block until `count` threads wait on this clock, at most `timeout` real seconds; return whether they do.

        What a test calls before `advance`, to be sure that the other thread has come so far.
        """
        end = _time.monotonic() + timeout
        with self._lock:
            while self._waiting.total() < count:
                left = end - _time.monotonic()
                if left <= 0 or not self._lock.wait(left):
                    return self._waiting.total() >= count
        return True

    def _counted(self, condition: threading.Condition) -> _Waiter:
        return _Waiter(self._lock, self._waiting, condition)


class _Waiter:
    """Counts one waiting thread, from before it looks at the clock until it has stopped waiting."""

    def __init__(
        self, lock: threading.Condition, waiting: Counter[threading.Condition], condition: threading.Condition
    ) -> None:
        self._lock = lock
        self._waiting = waiting
        self._condition = condition

    def __enter__(self) -> None:
        with self._lock:
            self._waiting[self._condition] += 1
            self._lock.notify_all()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._waiting[self._condition] -= 1
            if not self._waiting[self._condition]:
                del self._waiting[self._condition]
