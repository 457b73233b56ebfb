"""How a task with a soft limit, or a coroutine, is run in the thread that serves the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.runtime.alarm import Alarm
from celeriac.runtime.interruption import Interruption
from celeriac.runtime.limit_watch import LimitWatch, RunLimits
from celeriac.spi.pool import PoolContext

if TYPE_CHECKING:
    from celeriac.runtime.driving import TaskLoop

__all__ = ["MainRunner"]


class MainRunner:
    """Runs requests to their end in the calling thread, which is the same each time, with their soft limits."""

    def __init__(self, context: PoolContext) -> None:
        self.limits: RunLimits | None = None
        self.interruption: Interruption = Interruption()
        self.told_to_end: float | None = None
        self.stuck: Sequence[MainRunner] = ()
        self._context = context
        self._alarm = Alarm()
        self._watch: LimitWatch[MainRunner] | None = None
        self._loop: TaskLoop | None = None

    @property
    def slots(self) -> Sequence[MainRunner]:
        """Only this one."""
        return (self,)

    def end_by_force(self, slot: MainRunner, request: Request, error: Exception) -> bool:
        """Do nothing: nobody else could take the slot's place."""
        return False

    def run(self, request: Request) -> Outcome:
        """Run a request; its soft limit is raised in it. Raises: whatever comes out of `execute`."""
        context, seconds = self._context, request.soft_time_limit
        if context.aexecute is not None and context.is_async(request):
            return self._run_coroutine(request)
        if seconds is None:
            return context.execute(request)
        if Alarm.usable():
            return self._alarm.run(seconds, context.execute, request)
        try:
            return self.interruption.run(request, lambda: self._expect(request), context.execute, request)
        finally:
            self.limits = None

    def close(self) -> None:
        """Close the loop and end the watch. Called in the thread that runs."""
        if self._loop is not None:
            self._loop.close()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _expect(self, request: Request) -> None:
        if self._watch is None:
            self._watch = LimitWatch(self, "celeriac-solo-watch")
        self.limits = RunLimits.of(request, request.soft_time_limit, None)
        self._watch.expect(self.limits)

    def _run_coroutine(self, request: Request) -> Outcome:
        from celeriac.runtime.driving import Driven, TaskLoop, awaiting  # noqa: PLC0415  the first coroutine loads asyncio

        assert self._context.aexecute is not None  # noqa: S101  narrows the type; the caller saw it
        self._loop = self._loop or TaskLoop()
        return self._loop.run(Driven(awaiting(self._context.aexecute(request))), request.soft_time_limit)
