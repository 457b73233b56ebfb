"""The asyncio pool: coroutines side by side on one loop, and threads beside it for what is none."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from typing import ClassVar

from msgspec.structs import replace

from celeriac.errors import InternalError, TaskRevokedError
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.runtime.thread_slots import ThreadSlots
from celeriac.spi.declaration import Option
from celeriac.spi.pool import Kills, Places, Pool, PoolCapabilities, PoolContext, Resizes
from celeriac_asyncio.lag import LagWatch
from celeriac_asyncio.loop_thread import LoopThread, new_loop
from celeriac_asyncio.plugin import CAPABILITIES, OPTIONS
from celeriac_asyncio.runs import GRACE_SECONDS, LoopRuns

__all__ = ["AsyncioPool"]

CLOSING_SECONDS = 0.5
"""How long `stop` waits for the loop to be closed: a task may block it."""

LOOK_SECONDS = 0.1
"""How often `stop` looks whether all that runs was ended by force, which nobody tells it."""


class AsyncioPool(Pool, Kills, Places, Resizes):
    """Runs coroutines on one loop, and plain functions on threads; both count as slots.

    1. What was submitted waits in one deque. While a slot is free the oldest is taken: a coroutine is begun on the
       loop, a plain function given to the threads.
    2. A plain function for which there is no thread left is put aside and keeps nobody waiting; it is the next to be
       taken when a thread is free.
    3. A slot that is free takes the next at once: on the loop itself after a turn, in the thread after a report.
    4. `stop` waits for what runs; at the deadline the coroutines are cancelled. See `LoopRuns` and `ThreadSlots`.

    `_lock` guards what waits and the counts. It is taken before those of the threads, and never held during a call of
    the context.
    """

    capabilities: ClassVar[PoolCapabilities] = CAPABILITIES
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        options = {name: context.options.get(name, option.default) for name, option in OPTIONS.items()}
        self._most_threads: int = options["plain_threads"] or min(32, (os.cpu_count() or 1) + 4)
        self._blocked_seconds: float = options["blocked_seconds"]
        self._uvloop: bool = options["uvloop"]
        self._threads = ThreadSlots(
            min(concurrency, self._most_threads),
            replace(context, report=self._report_plain),
            name="celeriac-asyncio-plain",
            stuck_limit=options["stuck_limit"],
        )
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[Request] = deque()
        self._aside: deque[Request] = deque()
        """Plain functions for which there is no thread; older than all of `_waiting`."""
        self._beginning: list[Request] = []
        """Coroutines that have a slot, and that the loop has not begun."""
        self._called = False
        self._running = 0
        self._plain = 0
        """How many of those that run are plain functions."""
        self._stopped = False
        self._loop: LoopThread | None = None
        self._runs: LoopRuns | None = None
        self._watch: LagWatch | None = None

    def _start(self) -> None:
        if self.context.aexecute is not None:
            loop = new_loop(uvloop=self._uvloop)
            self._loop = LoopThread(loop, "celeriac-asyncio")
            self._runs = LoopRuns(self.context, loop, copy_context(), self._on_freed)
            self._watch = LagWatch(self._loop, self._runs, self._blocked_seconds, self.context.retire)
            self._loop.start()
            self._watch.start()
        self._threads.start()

    def _submit(self, requests: Sequence[Request]) -> None:
        with self._lock:
            if self._stopped:
                raise InternalError(f"{len(requests)} requests were submitted to a pool that was stopped.")
            self._waiting.extend(requests)
            self._fill()
            self._call_loop()

    def _drain(self) -> list[Request]:
        with self._lock:
            return self._take_back()

    def _stop(self, timeout: float | None) -> list[Request]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            if self._stopped:
                return []
            self._stopped = True
            unstarted = self._take_back()
            self._wait_for_coroutines(deadline)
        unended = self._threads.stop(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if self._loop is not None and self._runs is not None and self._watch is not None:
            unended += self._runs.abandon()
            self._loop.stop(CLOSING_SECONDS)
            self._watch.stop()
        return unended + unstarted

    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        """Cancel the coroutine under a key; a plain function is ended as by the pool `threads`."""
        if self._runs is not None and self._runs.end_by_force(key, TaskRevokedError("terminated")):
            return True
        return self._threads.terminate(key, signal=signal)

    def place(self, key: int) -> str | None:
        """Return the name of the thread that runs a key, the loop's own or another; None if it does not run."""
        if self._runs is not None and self._loop is not None and key in self._runs:
            return self._loop.name
        return self._threads.place(key)

    def resize(self, concurrency: int) -> None:
        """Have so many slots from now on."""
        with self._lock:
            self.concurrency = concurrency
            self._threads.resize(min(concurrency, self._most_threads))
            if not self._stopped:
                self._fill()
                self._call_loop()

    def _wait_for_coroutines(self, deadline: float | None) -> None:
        """Wait for those that run, and a moment for those that were ended by force; the caller holds the lock."""
        reported_at = math.inf
        while self._runs is not None and self._running > self._plain:
            now = time.monotonic()
            if self._running - self._plain <= self._runs.ending:
                reported_at = min(reported_at, now)
            if now >= reported_at + GRACE_SECONDS or (deadline is not None and now >= deadline):
                return
            self._changed.wait(LOOK_SECONDS if deadline is None else min(LOOK_SECONDS, deadline - now))

    def _fill(self) -> None:
        """Take what waits while slots are free; the caller holds the lock, and sees to it that the loop begins."""
        is_async, plain = self.context.is_async, []
        while self._running < self.concurrency:
            if self._aside and self._plain < self._threads.concurrency:
                request = self._aside.popleft()
            elif self._waiting:
                request = self._waiting.popleft()
                if self._runs is not None and is_async(request):
                    self._beginning.append(request)
                    self._running += 1
                    continue
                if self._plain >= self._threads.concurrency:
                    self._aside.append(request)
                    continue
            else:
                break
            plain.append(request)
            self._running += 1
            self._plain += 1
        if plain:
            self._threads.submit(plain)

    def _call_loop(self) -> None:
        """Have the loop begin what is to begin; the caller holds the lock."""
        if self._beginning and not self._called and self._loop is not None:
            self._called = True
            self._loop.loop.call_soon_threadsafe(self._begin)

    def _take_back(self) -> list[Request]:
        """Take what has not started; the caller holds the lock."""
        with_slots = self._threads.drain()
        self._plain -= len(with_slots)
        with_slots += self._beginning
        self._beginning.clear()
        self._running -= len(with_slots)
        with_slots.sort(key=lambda request: request.key)
        taken = [*with_slots, *self._aside, *self._waiting]
        self._aside.clear()
        self._waiting.clear()
        return taken

    def _begin(self) -> None:
        """Begin what has a slot. Called on the loop."""
        with self._lock:
            self._called = False
            requests, self._beginning = self._beginning, []
        if requests and self._runs is not None and self._watch is not None:
            for request in requests:
                self._runs.begin(request)
            self._watch.wake()

    def _on_freed(self, count: int) -> None:
        """Take what waits for the slots that coroutines have left. Called on the loop."""
        with self._lock:
            self._running -= count
            self._fill()
            if self._stopped:
                self._changed.notify_all()
        if self._beginning:
            self._begin()

    def _report_plain(self, outcomes: Sequence[Outcome]) -> None:
        """Report what has ended in a thread, and take what waits for its slot."""
        try:
            self.context.report(outcomes)
        finally:
            with self._lock:
                self._running -= len(outcomes)
                self._plain -= len(outcomes)
                if not self._stopped:
                    self._fill()
                    self._call_loop()
