"""One thread that runs tasks, one after the other."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING

from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.runtime.interruption import Interruption
from celeriac.runtime.limit_watch import RunLimits

if TYPE_CHECKING:
    from celeriac.runtime.driving import Driven, TaskLoop
    from celeriac.runtime.thread_slots import ThreadSlots

__all__ = ["ThreadSlot"]

log: logging.Logger = logging.getLogger(__name__)


class ThreadSlot(threading.Thread):
    """A thread of a pool. Who claims its request owns it: the slot to report it, or who takes it away from the slot."""

    def __init__(self, pool: ThreadSlots, variables: Context, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.lock: threading.Lock = threading.Lock()
        self.left: threading.Event = threading.Event()
        """Set when nobody needs to wait for this slot: it has ended, or was given up."""
        self.abandoned: bool = False
        self.told_to_end: float | None = None
        """When, by `time.monotonic()`; None again once it cannot be missed."""
        self.limits: RunLimits | None = None
        self.interruption: Interruption = Interruption()
        self._pool = pool
        self._context = pool.context
        self._variables = variables
        # Without `aexecute`, `execute` runs coroutines too.
        self._is_async = pool.context.is_async if pool.context.aexecute is not None else lambda _: False
        self._running: Request | None = None
        self._last: Request | None = None
        self._loop: TaskLoop | None = None
        self._driven: Driven[Outcome] | None = None

    @property
    def running(self) -> Request | None:
        """What it runs, if anything."""
        return self._running

    def run(self) -> None:
        """Run one request after the other until the pool is stopped, or this slot is too many."""
        close = self.interruption.close
        try:
            try:
                try:
                    self._work()
                finally:
                    close(final=True)
            finally:
                close(final=True)
        except SystemExit:  # it was told to end
            close(final=True)
        finally:
            if self._loop is not None:
                self._loop.close()
            self.left.set()

    def claim(self) -> Request | None:
        """Take the request that runs away from the slot, unless somebody already has."""
        with self.lock:
            request, self._running = self._running, None
        return request

    def take_away(self, request: Request) -> bool:
        """Take this very request away, and with it the thread from the pool; return whether it was running."""
        with self.lock:
            if self._running is not request:
                return False
            self._running = None
            self.abandoned = True
        self.left.set()
        return True

    def tell_to_end(self) -> None:
        """Have the thread of a run that was taken away end: a coroutine is cancelled, all else gets SystemExit."""
        self.interruption.doom(self, self.ident)
        self.told_to_end = time.monotonic()
        driven, loop = self._driven, self._loop
        if driven is not None and loop is not None:
            loop.cancel(driven)

    def stack(self) -> str:
        """Return where the thread is, as in a traceback."""
        frame = sys._current_frames().get(self.ident or 0)
        return "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "(it has just ended)"

    def place(self) -> str:
        """Return in one line which task it runs and where it is."""
        frame = sys._current_frames().get(self.ident or 0)
        what = f"{self._last.task}[{self._last.id}]" if self._last is not None else "nothing"
        if frame is None:
            return what
        return f"{what} in {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})"

    def _work(self) -> None:
        pool, report = self._pool, self._context.report
        while not pool.stopped:
            if pool.surplus and pool.dismiss(self):
                return
            request = self._take()
            if request is None:
                pool.wait_for_work()
                continue
            if request.soft_time_limit is None and request.time_limit is None:
                outcome = self._run_one(request)
            else:
                outcome = self._run_limited(request)
            if self.claim() is None:
                log.info("a late outcome is dropped", extra={"event": "outcome_dropped", "id": request.id})
                return
            try:
                report((outcome,))
            except BaseException:  # a defect elsewhere must not take this slot with it
                log.exception("The report of an outcome failed", extra={"event": "report_failed", "id": request.id})

    def _take(self) -> Request | None:
        with self.lock:
            try:
                self._running = self._last = self._pool.waiting.popleft()
            except IndexError:
                return None
            return self._running

    def _run_one(self, request: Request) -> Outcome:
        context = self._context
        try:
            context.started(request)
            if self._is_async(request):
                return self._variables.copy().run(self._run_coroutine, request)
            return self._variables.copy().run(context.execute, request)
        except BaseException as error:  # noqa: BLE001  there is nobody above to catch it, and the slot must live
            return context.failed(request, error)

    def _run_limited(self, request: Request) -> Outcome:
        call = self._run_coroutine if self._is_async(request) else self._context.execute
        run: Callable[..., Outcome] = self._variables.copy().run
        try:
            return self.interruption.run(request, lambda: self._begin(request), run, call, request)
        except BaseException as error:  # noqa: BLE001  as in `_run_one`
            return self._context.failed(request, error)
        finally:
            self.limits = None

    def _begin(self, request: Request) -> None:
        self._context.started(request)  # first: the watch may report the run as soon as it knows its limits
        soft = None if self._is_async(request) else request.soft_time_limit  # raised on its loop, where it waits
        self.limits = RunLimits.of(request, soft, request.time_limit)
        self._pool.watch.expect(self.limits)

    def _run_coroutine(self, request: Request) -> Outcome:
        from celeriac.runtime.driving import Driven, TaskLoop, awaiting  # noqa: PLC0415  the first async task loads asyncio

        assert self._context.aexecute is not None  # noqa: S101  narrows the type; the caller saw it
        self._loop = self._loop or TaskLoop()
        self._driven = driven = Driven(awaiting(self._context.aexecute(request)))
        try:
            return self._loop.run(driven, request.soft_time_limit)
        finally:
            self._driven = None
