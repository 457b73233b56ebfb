"""The solo pool: one slot, which is the thread that calls `serve`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextvars import Context, copy_context
from queue import SimpleQueue

from celeriac.errors import InternalError, Unsupported
from celeriac.model.request import Request
from celeriac.spi.pool import Pool, PoolContext, RunsInMain
from celeriac_solo.plugin import CAPABILITIES
from celeriac_solo.runner import MainRunner

__all__ = ["SoloPool"]


class SoloPool(Pool, RunsInMain):
    """Runs one task after the other in the thread that calls `serve`.

    1. `submit` appends to a deque under a lock, and wakes `serve` only if it sleeps.
    2. `serve` takes the oldest request, runs it in a context of its own and reports its outcome at once, alone: so
       nothing that is finished waits behind what runs, and no timer is needed.
    3. `stop` waits for `serve` to return. At the deadline it takes the running request away under the lock; what
       that run brings afterwards is dropped.

    4. A soft limit is raised in the task by SIGALRM. Where that cannot be, as `serve` runs in another thread or the
       system has no such clock, it is raised by an exception from a thread of its own, which cannot end a call of C.
       A coroutine gets it from its loop.

    A second slot would be a second thread: a concurrency other than 1 is refused. A KeyboardInterrupt or SystemExit
    that comes out of `execute` leaves through `serve`, as the main thread is where they belong; the request that ran
    is then in the answer of `stop`. An Exception, which `execute` must not raise, fails that run and no other.
    """

    capabilities = CAPABILITIES

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        if concurrency != 1:
            what = f"a concurrency of {concurrency}: it has one slot. Set 1, or choose another pool"
            raise Unsupported(what, "The pool 'solo'")
        super().__init__(concurrency, context)
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        # A signal handler may interrupt the main thread while that holds the lock, so `interrupt` takes none: it
        # sets a flag and puts a token here. SimpleQueue.put is documented as reentrant for this very use.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None
        self._serving = False
        self._sleeping = False
        self._ending = False
        self._stopped = False
        self._context = Context()
        # Without `aexecute`, `execute` runs coroutines too.
        self._is_async = context.is_async if context.aexecute is not None else lambda _: False
        self._runner = MainRunner(context)

    def serve(self) -> None:
        """Run what is submitted until `stop` or `interrupt`; after either it returns at once."""
        with self._lock:
            self._serving = True
        try:
            while not self._ending:
                request = self._take()
                if request is None:
                    self._wake.get()
                else:
                    self._run(request)
        finally:
            self._runner.close()
            with self._lock:
                self._serving = False
                self._ended.notify_all()

    def interrupt(self) -> None:
        """Make `serve` return after the task that runs, and for good. What waits is left for `drain` or `stop`."""
        self._ending = True
        self._wake.put(None)

    def _start(self) -> None:
        self._context = copy_context()

    def _submit(self, requests: Sequence[Request]) -> None:
        with self._lock:
            if self._stopped:
                raise InternalError(f"{len(requests)} requests were submitted to a pool that was stopped.")
            self._waiting.extend(requests)
            wake, self._sleeping = self._sleeping, False
        if wake:
            self._wake.put(None)

    def _drain(self) -> list[Request]:
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
            return taken

    def _stop(self, timeout: float | None) -> list[Request]:
        self.interrupt()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._stopped:
                return []
            self._stopped = True
            while self._serving:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._ended.wait(left)
            running, self._running = self._running, None
            # With no run to abandon, `serve` is at most within a report, which returns quickly, and starts no more.
            while self._serving and running is None:
                self._ended.wait()
            unended = [running, *self._waiting] if running else [*self._waiting]
            self._waiting.clear()
            return unended

    def _take(self) -> Request | None:
        with self._lock:
            if self._waiting and not self._ending:
                self._running = self._waiting.popleft()
                return self._running
            self._sleeping = True
            return None

    def _run(self, request: Request) -> None:
        try:
            self.context.started(request)
            if request.soft_time_limit is None and not self._is_async(request):
                outcome = self._context.copy().run(self.context.execute, request)
            else:
                outcome = self._context.copy().run(self._runner.run, request)
        except Exception as error:  # noqa: BLE001  by contract there is none; a defect must not end the worker
            outcome = self.context.failed(request, error)
        with self._lock:
            if self._running is not request:
                return
            self._running = None
        self.context.report((outcome,))
