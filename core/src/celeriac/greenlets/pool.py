"""A pool of greenlets, whatever their library: slots, limits, and reports."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import ClassVar

from celeriac.errors import (
    ConfigurationError,
    InternalError,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)
from celeriac.greenlets.coroutines import Coroutines
from celeriac.greenlets.hub import Greenlet, Hub, Timer
from celeriac.greenlets.options import OPTIONS
from celeriac.greenlets.sentinel import Sentinel
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.spi.declaration import Option
from celeriac.spi.pool import Kills, Places, Pool, PoolContext, Resizes

__all__ = ["GreenPool", "Slot"]

log: logging.Logger = logging.getLogger(__name__)

SLICE_SECONDS = 0.002
"""How long tasks that never wait may follow one another before all others have their turn."""

LOOK_SECONDS = 0.005
"""How often `stop` looks whether the runs have ended."""


class GreenPool(Pool, Kills, Places, Resizes):
    """Runs tasks on greenlets of the thread that starts it; every method is called in that thread.

    1. A slot is a greenlet that takes one request after the other from a deque, oldest first, and parks when it is
       empty. It is made when it is first needed, so a thousand slots cost nothing before.
    2. Whoever takes a request while more wait wakes one more slot, which goes on as soon as the first one waits or
       has used up its slice. So tasks that never wait need a single slot, and no switch.
    3. Outcomes are gathered, and reported together by a greenlet of their own at the next switch.
    4. Who takes a run out of `_running` owns it: its slot when it has ended; else the hard limit, `terminate` or
       `stop`, which abandon the slot and kill its greenlet. Whatever that brings afterwards is dropped, and another
       slot may be made in its place at once.
    5. A run of an `async def` task goes to one loop for all of them; its slot waits for it.

    A task that computes holds up all of this, since nothing can interrupt a greenlet that does not wait. The sentinel,
    a real thread, sees that and tells.
    """

    options: ClassVar[Mapping[str, Option]] = OPTIONS
    library: ClassVar[str]
    """As users write it after `-P`."""

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        if missing := self.unpatched():
            raise ConfigurationError(_unpatched(self.library, missing))
        self.hub: Hub = self.make_hub()
        option = {name: context.options.get(name, each.default) for name, each in OPTIONS.items()}
        self.sentinel: Sentinel = Sentinel(self.hub, self.running, blocked_seconds=option["blocked_seconds"])
        self._stuck_limit: int | None = option["stuck_limit"]
        self._given_up: list[Greenlet] = []
        self.waiting: deque[Request] = deque()
        self.stopped: bool = False
        self.slice_end: float = 0.0
        self.variables: Context = Context()
        self.coroutines: Coroutines | None = None
        self._slots: set[Slot] = set()
        self._made = 0
        self._idle: list[Slot] = []
        self._rousing = False
        self._running: dict[int, Slot] = {}
        self._failing: dict[int, Request] = {}
        """What was ended by force, while its outcome is made."""
        self._finished: list[Outcome] = []
        self._reporter: Greenlet | None = None
        self._reporting = False
        self._over = False

    @abstractmethod
    def unpatched(self) -> list[str]:
        """Return the modules of the standard library that should have been replaced and are not."""

    @abstractmethod
    def make_hub(self) -> Hub:
        """Return the hub of this thread; called where all is patched."""

    def _start(self) -> None:
        self.variables = copy_context()
        if self.context.aexecute is not None:
            self.coroutines = Coroutines(self.hub, self.context.aexecute)
        self._reporting = True
        self._reporter = self.hub.spawn(self._report)
        self.sentinel.start()

    # -- taking and giving back ------------------------------------------------------------------------

    def _submit(self, requests: Sequence[Request]) -> None:
        if self.stopped:
            raise InternalError(f"{len(requests)} requests were submitted to a pool that was stopped.")
        self.waiting.extend(requests)
        self._rouse()

    def _drain(self) -> list[Request]:
        taken = list(self.waiting)
        self.waiting.clear()
        return taken

    def _stop(self, timeout: float | None) -> list[Request]:
        if self.stopped:
            return []
        self.stopped = True
        unstarted = self._drain()
        self._wake_idle()
        deadline = None if timeout is None else time.monotonic() + timeout
        while (self._running or self._failing) and (deadline is None or time.monotonic() < deadline):
            self.hub.sleep(LOOK_SECONDS)
        unended = [slot.request for slot in self._running.values() if slot.request is not None]
        unended += self._failing.values()
        self._failing.clear()
        for key in list(self._running):
            self._abandon(key)
        while self._reporter is not None and (self._finished or self._reporting):
            self.hub.sleep(LOOK_SECONDS)  # a report returns quickly
        self._over = True
        self._wake_reporter()
        self.sentinel.stop()
        if self.coroutines is not None:
            self.coroutines.close()
        return unended + unstarted

    def resize(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self._wake_idle()  # those that are too many end; the others park again
        self._rouse()

    def place(self, key: int) -> str | None:
        """Return the name of the greenlet that runs a key, the pool's and a number; None if it does not run."""
        slot = self._running.get(key)
        return None if slot is None else slot.name

    def surplus(self) -> bool:
        """Whether there are more slots than there should be."""
        return len(self._slots) > self.concurrency

    # -- slots -----------------------------------------------------------------------------------------

    def _rouse(self) -> None:
        """Have one more slot look for work, unless one already will."""
        if self._rousing or not self.waiting or self.stopped:
            return
        if self._idle:
            self._rousing = True
            self.hub.resume(self._idle.pop().greenlet)
        elif len(self._slots) < self.concurrency:
            self._rousing = True
            self._made += 1
            slot = Slot(self, f"{self.library}-{self._made}")
            self._slots.add(slot)
            slot.greenlet = self.hub.spawn(slot.run)

    def take(self, slot: Slot) -> Request | None:
        """Return the oldest request that waits, now a run of `slot`, and have another slot see to the next one."""
        self._rousing = False
        if not self.waiting:
            return None
        request = self.waiting.popleft()
        self._running[request.key] = slot
        if self.waiting:
            self._rouse()
        return request

    def park(self, slot: Slot) -> None:
        """Wait for work."""
        self._idle.append(slot)
        self.hub.park()
        self._rousing = False

    def claim(self, request: Request, slot: Slot) -> bool:
        """Take a run that has ended out of the books; False if somebody else has: then it is not to be reported."""
        if self._running.get(request.key) is not slot:
            return False
        del self._running[request.key]
        return True

    def leave(self, slot: Slot) -> None:
        """Forget a slot that ends; should it have been roused, another one sees to what waits."""
        self._slots.discard(slot)
        self._rousing = False
        self._rouse()

    def running(self) -> list[tuple[Request, Greenlet]]:
        """Return what runs, and where; the one thing that is called from another thread."""
        return [(slot.request, slot.greenlet) for slot in list(self._running.values()) if slot.request is not None]

    def _wake_idle(self) -> None:
        idle, self._idle = self._idle, []
        for slot in idle:
            self.hub.resume(slot.greenlet)

    # -- ends by force ---------------------------------------------------------------------------------

    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        return self._end(key, TaskRevokedError("terminated"))

    def overrun(self, request: Request, slot: Slot) -> None:
        """End a run that reached its hard limit; called in the hub."""
        if self._running.get(request.key) is slot:
            self._end(request.key, TimeLimitExceeded(request.time_limit))

    def _end(self, key: int, error: BaseException) -> bool:
        slot = self._running.get(key)
        if slot is None or slot.request is None:
            return False
        self._failing[key] = slot.request
        self._abandon(key)
        self.hub.spawn(partial(self._fail, slot.request, error))
        self._rouse()
        return True

    def _abandon(self, key: int) -> None:
        slot = self._running.pop(key)
        slot.abandoned = True
        self._slots.discard(slot)
        self._given_up.append(slot.greenlet)
        self.hub.kill(slot.greenlet)

    def _fail(self, request: Request, error: BaseException) -> None:
        try:
            outcome = self.context.failed(request, error)
        except BaseException:  # a defect elsewhere: `stop` hands the request back
            log.exception("No outcome for a run that was ended", extra={"event": "internal_error", "id": request.id})
            return
        if self._failing.pop(request.key, None) is not None:
            self.finish(outcome)
        self._count_stuck()

    def _count_stuck(self) -> None:
        """Retire the worker when too many greenlets that were killed do not end."""
        self._given_up = [greenlet for greenlet in self._given_up if not greenlet.dead]
        if len(self._given_up) > (self._stuck_limit or max(100, self.concurrency)):
            self.context.retire(f"{len(self._given_up)} tasks that were given up do not end")

    # -- reports ---------------------------------------------------------------------------------------

    def finish(self, outcome: Outcome) -> None:
        """Have an outcome reported, together with all that end before the reporter has its turn."""
        self._finished.append(outcome)
        self._wake_reporter()

    def _wake_reporter(self) -> None:
        if self._reporter is not None and not self._reporting:
            self._reporting = True
            self.hub.resume(self._reporter)

    def _report(self) -> None:
        while True:
            while self._finished:
                outcomes, self._finished = self._finished, []
                try:
                    self.context.report(outcomes)
                except BaseException:  # a defect elsewhere must not end the reports
                    keys = [outcome.key for outcome in outcomes]
                    log.exception("The report of outcomes failed", extra={"event": "report_failed", "keys": keys})
            self._reporting = False
            if self._over:
                return
            self.hub.park()


class Slot:
    """One greenlet of the pool."""

    __slots__ = ("abandoned", "greenlet", "name", "pool", "request")

    greenlet: Greenlet

    def __init__(self, pool: GreenPool, name: str) -> None:
        self.pool: GreenPool = pool
        self.name: str = name
        self.request: Request | None = None
        self.abandoned: bool = False

    def run(self) -> None:
        """Run one request after the other, until the pool is stopped or has too many slots, or gives this one up."""
        pool, now = self.pool, time.perf_counter
        while not self.abandoned and not pool.surplus():
            request = pool.take(self)
            if request is None:
                if pool.stopped:
                    break
                pool.park(self)
                continue
            self.request = request
            outcome = self._run_one(request)
            if outcome is None or not pool.claim(request, self):
                return
            self.request = None
            pool.finish(outcome)
            if now() >= pool.slice_end:
                pool.hub.pause()
                pool.slice_end = now() + SLICE_SECONDS
        pool.leave(self)

    def _run_one(self, request: Request) -> Outcome | None:
        """Run a request; None where its slot was given up meanwhile."""
        pool, context = self.pool, self.pool.context
        execute: Callable[[Request], Outcome] = context.execute
        try:
            context.started(request)
            if pool.coroutines is not None and context.is_async(request):
                execute = pool.coroutines.execute
            if request.time_limit is None and request.soft_time_limit is None:
                return pool.variables.copy().run(execute, request)
            timers = self._limits(request)
            try:
                return pool.variables.copy().run(execute, request)
            finally:
                for timer in timers:
                    timer.cancel()
        except BaseException as error:  # noqa: BLE001  there is nobody above to catch it, and the slot must live
            return None if self.abandoned else context.failed(request, error)

    def _limits(self, request: Request) -> list[Timer]:
        hub, timers = self.pool.hub, list[Timer]()
        soft, hard = request.soft_time_limit, request.time_limit
        if soft is not None:
            timers.append(hub.raise_later(soft, SoftTimeLimitExceeded(soft)))
        if hard is not None:
            timers.append(hub.call_later(hard, partial(self.pool.overrun, request, self)))
        return timers


def _unpatched(name: str, missing: Sequence[str]) -> str:
    return (
        f"The pool {name!r} needs a process in which {name} has replaced {', '.join(missing)}, before anything else was"
        f" imported. Start the worker with `-P {name}`, or with CELERIAC_WORKER_POOL={name} in the environment: the"
        " setting of an app is read too late. In a program of your own, begin with:"
        f" from celeriac_{name}.patches import patch; patch()"
    )
