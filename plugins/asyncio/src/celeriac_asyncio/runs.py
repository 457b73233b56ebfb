"""The coroutines that run on the loop: how each begins, how it ends, and how it is ended."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from celeriac.errors import InternalError, TimeLimitExceeded
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.runtime.driving import Driven, soft_limit
from celeriac.spi.pool import PoolContext

__all__ = ["GRACE_SECONDS", "LoopRun", "LoopRuns"]

log: logging.Logger = logging.getLogger(__name__)

GRACE_SECONDS = 0.5
"""How long a coroutine has to end after it was cancelled, before its slot is given to another."""


class LoopRun:
    """One run on the loop."""

    __slots__ = ("began", "driven", "hard_at", "left", "request", "task", "timers")

    def __init__(self, request: Request) -> None:
        self.request: Request = request
        self.task: asyncio.Task[None] | None = None
        self.driven: Driven[None] | None = None
        """Set where the run has a soft limit."""
        self.timers: list[asyncio.TimerHandle] = []
        self.began: bool = False
        self.left: bool = False
        """Whether its slot is free again."""
        self.hard_at: float | None = None
        """By the loop's clock, which is `time.monotonic()`."""


class LoopRuns:
    """All runs on one loop.

    1. Whoever removes a run from `_runs` owns its outcome: the run itself at its end, or who ends it by force, in any
       thread. Removing a key from a dict is one step, so this needs no lock.
    2. What ends in one turn of the loop is reported together, at the next turn; then the slots are free.
    3. A run that is ended by force is reported at once, then cancelled. Its slot is free when it has ended, or after
       `GRACE_SECONDS`. One that swallows its cancellation is left to itself; what it brings later is dropped.
    4. The soft limit is raised where the coroutine waits: see `celeriac.runtime.driving`.

    Args:
        context: The pool's.
        loop: Where they run; `begin` is called there.
        variables: The context variables of which each run gets a copy.
        on_freed: Called on the loop with the number of slots that are free again.
    """

    def __init__(
        self,
        context: PoolContext,
        loop: asyncio.AbstractEventLoop,
        variables: Context,
        on_freed: Callable[[int], None],
    ) -> None:
        assert context.aexecute is not None  # noqa: S101  narrows the type; without it there are no coroutines
        self.given_up: int = 0
        """How many coroutines have swallowed their cancellation."""
        self._context = context
        self._aexecute = context.aexecute
        self._loop = loop
        self._variables = variables
        self._on_freed = on_freed
        self._runs: dict[int, LoopRun] = {}
        self._ending: set[LoopRun] = set()
        self._finished: deque[Outcome] = deque()
        self._freed = 0
        self._flushing = False
        self._telling = threading.Lock()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __contains__(self, key: int) -> bool:
        return key in self._runs

    @property
    def ending(self) -> int:
        """How many were ended by force, and hold their slots still."""
        return sum(not run.left for run in list(self._ending))

    def begin(self, request: Request) -> None:
        """Start a run. Called on the loop."""
        run = LoopRun(request)
        self._runs[request.key] = run
        coroutine: Coroutine[Any, Any, None] = self._run(run)
        if request.soft_time_limit is not None:
            coroutine = run.driven = Driven(coroutine)
        run.task = self._loop.create_task(coroutine, context=self._variables.copy())

    def end_by_force(self, key: int, error: Exception) -> bool:
        """Report a run as failed and cancel it, from any thread; return whether it was running."""
        with self._telling:
            run = self._runs.get(key)
            if run is None or not run.began or self._runs.pop(key, None) is None:
                return False
            self._ending.add(run)
            self._report([self._context.failed(run.request, error)])
        self._loop.call_soon_threadsafe(self._cancel, run)
        return True

    def flush(self) -> None:
        """Report what has ended, from any thread."""
        with self._telling:
            outcomes = []
            while self._finished:
                outcomes.append(self._finished.popleft())
            if outcomes and not self._closed:
                self._report(outcomes)

    def abandon(self) -> list[Request]:
        """Cancel all runs and return their requests; nothing is reported from now on. From any thread."""
        taken = []
        while self._runs:
            try:
                taken.append(self._runs.popitem()[1])
            except KeyError:  # it has just ended
                break
        self.flush()
        with self._telling:
            self._closed = True
        for run in taken:
            self._loop.call_soon_threadsafe(self._cancel, run)
        return sorted((run.request for run in taken), key=lambda request: request.key)

    def current(self) -> tuple[str, LoopRun | None]:
        """Return the name of the asyncio task that has the loop now, and its run if it is one's. From any thread."""
        task = asyncio.current_task(self._loop)
        if task is None:
            return "no task", None
        for run in [*self._runs.values(), *self._ending]:
            if run.task is task:
                return f"{run.request.task}[{run.request.id}]", run
        return task.get_name(), None

    async def _run(self, run: LoopRun) -> None:
        request = run.request
        outcome: Outcome | None = None
        problem: BaseException | None = None
        try:
            if request.key in self._runs:
                self._context.started(request)
                run.began = True
                if request.soft_time_limit is not None or request.time_limit is not None:
                    self._set_limits(run)
                outcome = await self._aexecute(request)
        except BaseException as error:  # noqa: BLE001  whatever it is, the loop is for all, and the slot must live
            problem = error
        for timer in run.timers:
            timer.cancel()
        if self._runs.pop(request.key, None) is None:
            if outcome is not None:
                log.info("a late outcome is dropped", extra={"event": "outcome_dropped", "id": request.id})
        else:
            if outcome is None:
                outcome = self._context.failed(request, problem or InternalError("A run brought neither."))
            self._finished.append(outcome)
        self._leave(run)

    def _set_limits(self, run: LoopRun) -> None:
        soft, hard = run.request.soft_time_limit, run.request.time_limit
        if soft is not None:
            run.timers.append(self._loop.call_later(soft, self._reach_soft_limit, run, soft))
        if hard is not None:
            run.hard_at = self._loop.time() + hard
            run.timers.append(self._loop.call_later(hard, self._reach_hard_limit, run, hard))

    def _reach_soft_limit(self, run: LoopRun, seconds: float) -> None:
        if run.driven is not None and run.request.key in self._runs:
            run.driven.interrupt(soft_limit(seconds))

    def _reach_hard_limit(self, run: LoopRun, seconds: float) -> None:
        self.end_by_force(run.request.key, TimeLimitExceeded(seconds))

    def _cancel(self, run: LoopRun) -> None:
        if run.task is None:
            return
        if run.driven is not None:
            run.driven.withdraw()
        run.task.cancel()
        run.task.add_done_callback(lambda _: self._leave(run))  # it may end before its first step
        self._loop.call_later(GRACE_SECONDS, self._give_up, run)

    def _give_up(self, run: LoopRun) -> None:
        """Free the slot of a run that does not end, and cancel it once more, for what it is worth."""
        if run.left or run.task is None:
            return
        self.given_up += 1
        log.error(
            "task %s[%s] was cancelled and goes on; it is left to itself, and its outcome will be dropped",
            run.request.task,
            run.request.id,
            extra={"event": "cancellation_swallowed", "task": run.request.task, "task_id": run.request.id},
        )
        self._leave(run)
        self._ending.add(run)  # the loop itself refers to its tasks weakly only
        run.task.add_done_callback(lambda _: self._ending.discard(run))
        run.task.cancel()

    def _leave(self, run: LoopRun) -> None:
        self._ending.discard(run)
        if run.left or self._loop.is_closed():
            return
        run.left = True
        self._freed += 1
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._after_this_turn)

    def _after_this_turn(self) -> None:
        self._flushing = False
        freed, self._freed = self._freed, 0
        self.flush()
        self._on_freed(freed)

    def _report(self, outcomes: list[Outcome]) -> None:
        try:
            self._context.report(outcomes)
        except BaseException:  # a defect elsewhere must not take the loop with it
            log.exception("The report of outcomes failed", extra={"event": "report_failed", "count": len(outcomes)})
