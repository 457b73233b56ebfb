"""The watch over the loop: a task that blocks it is named, since nothing can take the loop from it."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

from celeriac import events
from celeriac.errors import TimeLimitExceeded
from celeriac_asyncio.loop_thread import LoopThread
from celeriac_asyncio.runs import LoopRun, LoopRuns

__all__ = ["RETIRE_SECONDS", "LagWatch"]

log: logging.Logger = logging.getLogger(__name__)

RETIRE_SECONDS = 10.0
"""How long past its hard limit a task may block the loop before the worker is asked to retire."""

LOOK_SECONDS = 0.25
"""How often to look at a loop that is blocked."""


class LagWatch(threading.Thread):
    """Asks the loop for a sign of life, from a thread of its own; only while there are runs.

    1. No sign within `threshold` seconds: the task that has the loop, and where it is, are logged and sent as the event
       `loop_blocked`, once.
    2. A task that blocks the loop past its hard limit is reported as failed, so that its message is settled.
    3. If it still does `RETIRE_SECONDS` later, the worker is asked to retire: no other coroutine gets a turn.
    """

    def __init__(self, loop: LoopThread, runs: LoopRuns, threshold: float, retire: Callable[[str], None]) -> None:
        super().__init__(name="celeriac-asyncio-watch", daemon=True)
        self.blocked_count: int = 0
        self.blocked_seconds: float = 0.0
        self._loop = loop
        self._runs = runs
        self._threshold = threshold
        self._retire = retire
        self._retired = False
        self._busy = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Watch: there are runs."""
        if not self._busy.is_set():
            self._busy.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._busy.set()
        self.join()

    def run(self) -> None:
        """Watch until stopped."""
        while not self._stopping.is_set():
            self._busy.clear()
            if not self._runs:
                self._busy.wait()
                continue
            sign = threading.Event()
            try:
                self._loop.loop.call_soon_threadsafe(sign.set)
            except RuntimeError:  # the loop is closed
                return
            if not sign.wait(self._threshold):
                self._while_blocked(sign)
            self._stopping.wait(self._threshold)

    def _while_blocked(self, sign: threading.Event) -> None:
        began = time.monotonic() - self._threshold
        name, run = self._runs.current()
        self._tell(name, run, time.monotonic() - began)
        while not sign.wait(LOOK_SECONDS) and not self._stopping.is_set():
            name, run = self._runs.current()
            if run is not None and run.hard_at is not None:
                self._keep_hard_limit(run, name, time.monotonic() - run.hard_at)
        seconds = time.monotonic() - began
        self.blocked_seconds += seconds
        log.warning(
            "the event loop goes on after %.1f s", seconds, extra={"event": "loop_unblocked", "seconds": seconds}
        )

    def _keep_hard_limit(self, run: LoopRun, name: str, over: float) -> None:
        if over >= 0:
            self._runs.end_by_force(run.request.key, TimeLimitExceeded(run.request.time_limit))
        if over >= RETIRE_SECONDS and not self._retired:
            self._retired = True
            self._retire(f"the event loop is blocked by {name}, past its hard limit, at:\n{self._stack()}")

    def _tell(self, name: str, run: LoopRun | None, seconds: float) -> None:
        self.blocked_count += 1
        stack = self._stack()
        log.error(
            "the event loop has been blocked for %.1f s by %s; no other coroutine can go on. It is at:\n%s",
            seconds,
            name,
            stack,
            extra={"event": "loop_blocked", "seconds": seconds},
        )
        if events.loop_blocked.receivers:
            request = run.request if run is not None else None
            events.loop_blocked.send(self, request=request, seconds=seconds, stack=stack)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop.ident or 0)
        return "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "(it has just ended)"
