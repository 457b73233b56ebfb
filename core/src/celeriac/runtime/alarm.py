"""Raise a soft time limit in the main thread, by the system's alarm clock.

Unlike an exception from another thread, a signal also ends a call of C that waits: `time.sleep`, a read of a socket.
Its handler runs in the main thread itself, so there is no race: once a run is closed, the handler raises nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from celeriac.errors import SoftTimeLimitExceeded
from celeriac.runtime.interruption import AGAIN_SECONDS, PATIENCE_SECONDS, interruptible

__all__ = ["Alarm"]

T = TypeVar("T")


class Alarm:
    """Runs calls in the main thread with a soft limit. While such a call runs, SIGALRM and its timer are not free."""

    def __init__(self) -> None:
        self._open = False
        self._seconds = 0.0
        self._due = 0.0

    @staticmethod
    def usable() -> bool:
        """Whether the calling thread is the main one, on a system that has this clock."""
        return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def run(self, seconds: float, call: Callable[..., T], *arguments: Any) -> T:
        """Call something with a soft limit; once it has returned, or raised, none comes any more.

        Raises: SoftTimeLimitExceeded: it did not catch that. Whatever it raises.
        """
        results: list[T] = []
        self._seconds, self._due = seconds, time.monotonic() + seconds
        previous = signal.signal(signal.SIGALRM, self._ring)
        try:
            try:
                self._open = True
                signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # 0 would stop the clock
                results.extend(map(call, *((argument,) for argument in arguments)))
            finally:
                self._open = False
        except BaseException:
            self._open = False
            if not results:
                raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous if previous is not None else signal.SIG_DFL)
        return results[0]

    def _ring(self, _number: int, frame: FrameType | None) -> None:
        if not self._open:
            return
        if frame is not None and not interruptible(frame, patient=time.monotonic() < self._due + PATIENCE_SECONDS):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
            return
        self._open = False
        raise SoftTimeLimitExceeded(self._seconds)
