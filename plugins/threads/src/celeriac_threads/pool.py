"""The threads pool: as many slots as threads, in the worker's own process."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context

from celeriac.errors import InternalError
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.spi.pool import Pool, PoolContext
from celeriac_threads.plugin import CAPABILITIES

__all__ = ["ThreadsPool"]

log: logging.Logger = logging.getLogger(__name__)


class ThreadsPool(Pool):
    """Runs tasks on `concurrency` threads.

    1. `submit` appends to one deque that all slots take from, oldest first: a task waits only while every slot is
       busy. It wakes as many slots as sleep and are needed.
    2. A slot runs its request in a context of its own and reports the outcome at once, alone: what is finished never
       waits behind what runs.
    3. `stop` takes what has not started and waits for the slots to end. At the deadline it takes the running
       requests away from their slots; what those runs bring afterwards is dropped.

    Nothing can end a thread from outside. The threads are daemons, so one that was abandoned does not keep the
    process from exiting. Whatever comes out of `execute`, SystemExit included, fails that run and keeps its slot.

    Each slot has a lock of its own, which nobody else wants except `drain` and `stop`: with one lock for all, eight
    slots spent ten times as long on each other as on a tiny task. `_lock` is always taken before those of the slots.
    """

    capabilities = CAPABILITIES

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        self.waiting: deque[Request] = deque()
        self.stopped: bool = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._sleeping = 0
        self._slots: list[_Slot] = []

    def _start(self) -> None:
        variables = copy_context()
        for number in range(1, self.concurrency + 1):
            slot = _Slot(self, variables, f"celeriac-threads-{number}")
            try:
                slot.start()
            except RuntimeError:  # the system has no room for another thread
                self._stop(None)
                raise
            self._slots.append(slot)

    def _submit(self, requests: Sequence[Request]) -> None:
        with self._lock:
            if self.stopped:
                raise InternalError(f"{len(requests)} requests were submitted to a pool that was stopped.")
            self.waiting.extend(requests)
            if self._sleeping:
                self._work.notify(len(requests))

    def _drain(self) -> list[Request]:
        with self._lock, ExitStack() as stack:
            # While all slots are held none can take a later request and leave an earlier one to us.
            for slot in self._slots:
                stack.enter_context(slot.lock)
            taken = list(self.waiting)
            self.waiting.clear()
            return taken

    def _stop(self, timeout: float | None) -> list[Request]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self.stopped = True
            self._work.notify_all()
        unstarted = self._drain()
        unended = []
        for slot in self._slots:
            slot.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if slot.is_alive():
                if request := slot.claim():
                    unended.append(request)
                else:
                    slot.join()  # it is within a report, which returns quickly
        self._slots.clear()
        return unended + unstarted

    def wait_for_work(self) -> None:
        """Sleep until there may be a request to take, or the pool is stopped."""
        with self._lock:
            if not self.waiting and not self.stopped:
                self._sleeping += 1
                self._work.wait()
                self._sleeping -= 1


class _Slot(threading.Thread):
    """One thread of the pool. Who claims its request owns it: the slot to report it, `stop` to return it."""

    def __init__(self, pool: ThreadsPool, variables: Context, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.lock = threading.Lock()
        self._pool = pool
        self._variables = variables
        self._running: Request | None = None

    def run(self) -> None:
        """Run one request after the other until the pool is stopped."""
        pool, report = self._pool, self._pool.context.report
        while not pool.stopped:
            request = self._take()
            if request is None:
                pool.wait_for_work()
                continue
            outcome = self._run_one(request)
            if self.claim() is None:
                return
            try:
                report((outcome,))
            except BaseException:  # a defect elsewhere must not take this slot with it
                log.exception("The report of an outcome failed", extra={"event": "report_failed", "id": request.id})

    def claim(self) -> Request | None:
        """Take the request that runs away from the slot, unless somebody already has."""
        with self.lock:
            request, self._running = self._running, None
        return request

    def _take(self) -> Request | None:
        with self.lock:
            try:
                self._running = self._pool.waiting.popleft()
            except IndexError:
                return None
            return self._running

    def _run_one(self, request: Request) -> Outcome:
        context = self._pool.context
        try:
            context.started(request)
            return self._variables.copy().run(context.execute, request)
        except BaseException as error:  # noqa: BLE001  there is nobody above to catch it, and the slot must live
            return context.failed(request, error)
