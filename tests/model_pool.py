"""A pool with every capability but coroutines, as plain as can be: each slot is a thread that looks after one process.

The contract suite is tried on it, and on what becomes of it when one thing is broken. It is slow, and not for work.
"""

from __future__ import annotations

import contextlib
import contextvars
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celeriac.errors import InternalError, SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.spi.pool import Kills, Places, Pool, PoolCapabilities, PoolContext, Resizes

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["model_pool", "celeriac.testing.contracts.pool_tasks"])


class Child:
    """One process, and the pipe to it."""

    def __init__(self, context: PoolContext) -> None:
        self.pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=work, args=(theirs, context.execute, context.failed), daemon=True)
        self.process.start()
        theirs.close()
        with contextlib.suppress(EOFError, OSError):  # killed already: the next one who reads sees it
            self.pipe.recv()
        self.runs = 0
        self.kib = 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(self.process.pid, number)

    def end(self) -> str:
        """Close it and say how it ended."""
        self.pipe.close()
        self.process.join()
        code = self.process.exitcode
        self.process.close()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class ModelPool(Pool, Kills, Places, Resizes):
    capabilities = PoolCapabilities(
        soft_limits=True, hard_limits=True, terminates=True, resizes=True, recycles=True, processes=True
    )

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        self.changed = threading.Condition()
        self.waiting: deque[Request] = deque()
        self.slots: list[Slot] = []
        self.stopped = False

    def _start(self) -> None:
        self.resize(self.concurrency)

    def resize(self, concurrency: int) -> None:
        with self.changed:
            self.concurrency = concurrency
            while not self.stopped and len(self.living()) < concurrency:
                self.slots.append(Slot(self))
                self.slots[-1].start()
            self.changed.notify_all()

    def living(self) -> list[Slot]:
        return [slot for slot in self.slots if not slot.over]

    def _submit(self, requests: Sequence[Request]) -> None:
        with self.changed:
            if self.stopped:
                raise InternalError("stopped")
            self.waiting.extend(requests)
            self.changed.notify_all()

    def _drain(self) -> list[Request]:
        with self.changed:
            taken = list(self.waiting)
            self.waiting.clear()
            return taken

    def _stop(self, timeout: float | None) -> list[Request]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        waiting = self._drain()
        abandoned = []
        for slot in self.slots:
            slot.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if slot.is_alive():
                request = slot.claim()
                if request is not None:
                    abandoned.append(request)
                    slot.kill()
                slot.join()
        self.slots.clear()
        return abandoned + waiting

    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        with self.changed:
            slot = next((slot for slot in self.slots if slot.running is not None and slot.running.key == key), None)
            return slot is not None and slot.terminate()

    def place(self, key: int) -> int | None:
        with self.changed:
            for slot in self.slots:
                if slot.running is not None and slot.running.key == key and slot.child is not None:
                    return slot.child.process.pid
            return None

    def take(self, slot: Slot) -> Request | None:
        """Wait for a request; None ends the slot."""
        with self.changed:
            slot.running = None
            while True:
                if self.stopped or len(self.living()) > self.concurrency:
                    slot.over = True
                    return None
                if self.waiting:
                    slot.running, slot.why = self.waiting.popleft(), None
                    return slot.running
                self.changed.wait()


class Slot(threading.Thread):
    def __init__(self, pool: ModelPool) -> None:
        super().__init__(daemon=True)
        self.pool = pool
        self.context = pool.context
        self.running: Request | None = None
        self.why: BaseException | None = None
        self.over = False
        self.child: Child | None = None

    def run(self) -> None:
        while (request := self.pool.take(self)) is not None:
            outcome = self.run_one(request)
            if self.claim() is not None:
                self.context.report([outcome])
        if self.child is not None:
            self.child.end()

    def claim(self) -> Request | None:
        with self.pool.changed:
            request, self.running = self.running, None
            return request

    def terminate(self) -> bool:
        self.why = TaskRevokedError("terminated")
        self.kill()
        return True

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def run_one(self, request: Request) -> Outcome:
        if self.child is None:
            self.child = Child(self.context)
        self.context.started(request)
        if self.why is not None:  # terminated before it could begin
            return self.lost(request)
        try:
            self.child.pipe.send(request)
            outcome, self.child.kib = self.wait(request, self.child)
        except (EOFError, OSError):
            return self.lost(request)
        if self.why is not None:  # it was killed as it had just ended
            return self.lost(request)
        self.child.runs += 1
        self.retire(self.child)
        return outcome

    def lost(self, request: Request) -> Outcome:
        child, self.child = self.child, None
        how = child.end()
        return self.context.failed(request, self.why or WorkerLostError(f"its process ended: {how}"))

    def wait(self, request: Request, child: Child) -> Any:
        begun = time.monotonic()
        soft, hard = request.soft_time_limit, request.time_limit
        while True:
            limits = [limit for limit in (soft, hard) if limit is not None]
            timeout = max(0.0, begun + min(limits) - time.monotonic()) if limits else None
            if child.pipe.poll(timeout):
                return child.pipe.recv()
            passed = time.monotonic() - begun
            if hard is not None and passed >= hard:
                self.hard_limit(request, child)
                hard = None
            elif soft is not None and passed >= soft:
                self.soft_limit(request, child)
                soft = None

    def soft_limit(self, request: Request, child: Child) -> None:
        child.kill(signal.SIGUSR1)

    def hard_limit(self, request: Request, child: Child) -> None:
        self.why = TimeLimitExceeded(request.time_limit)
        child.kill()

    def retire(self, child: Child) -> None:
        tasks, kib = self.context.max_tasks_per_child, self.context.max_memory_per_child
        if (tasks is not None and child.runs >= tasks) or (kib is not None and child.kib > kib):
            self.child = None
            child.end()


def work(pipe: Any, execute: Any, failed: Any) -> None:
    """Run what comes through the pipe, one after the other."""
    running: list[Request] = []

    def on_soft_limit(*_: object) -> None:
        if running:
            raise SoftTimeLimitExceeded(running.pop().soft_time_limit)

    signal.signal(signal.SIGUSR1, on_soft_limit)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send("ready: a soft limit does not end this process")
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            running.append(request)
            outcome = contextvars.copy_context().run(execute, request)
            running.clear()
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the run that failed
            running.clear()
            outcome = failed(request, error)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        pipe.send((outcome, pages * (os.sysconf("SC_PAGE_SIZE") // 1024)))
