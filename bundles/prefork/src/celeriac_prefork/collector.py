"""The collector: the one thread of the pool. It reads what children left in their slots, and tells the worker."""

from __future__ import annotations

import logging
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE
from celeriac.model.request import Request
from celeriac_prefork import orders
from celeriac_prefork.audit import Audit
from celeriac_prefork.dispatch import Run
from celeriac_prefork.fates import await_end, status_text
from celeriac_prefork.memory import barrier
from celeriac_prefork.orders import Order
from celeriac_prefork.parts import Ending, Parts
from celeriac_prefork.remains import Remains

__all__ = ["Collector"]

log: logging.Logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
"""How often to look while it is not known what runs."""
WATCH_SECONDS = 1.0
"""How often to look while something runs that has been told of."""
REST_SECONDS = 30.0
"""How long to sleep when nothing is to be done: until somebody wakes the thread."""
STOPPED_SECONDS = 5.0
"""After how long an idle child that somebody has stopped (SIGSTOP) is replaced."""
TELL_SECONDS = 1.0
"""How long others wait for starts to be told; only bounds what a hanging worker would do to them."""


class Collector(threading.Thread):
    """Collects until `finish` is called.

    1. Read every ring, and the socket to the zygote: what has ended, and how.
    2. Tell of starts, oldest first, then report.
    3. Look at limits and accounts, when it is time.
    4. Sleep, unless something came meanwhile.

    The lock guards the accounts only; the worker is told outside of it, by this thread alone.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(name="celeriac-prefork", daemon=True)
        self.lost: bool = False
        """Whether the zygote has ended by itself."""
        self.settled: threading.Condition = threading.Condition(parts.lock)
        """Notified when a run has ended while somebody waits for that."""
        self.waiters: int = 0
        self.telling: Run | None = None
        """The run whose start the worker is being told."""
        self._parts = parts
        self._remains = Remains(parts)
        self._audit = Audit(parts.crew, parts.dispatch)
        self._finished = False
        self._look_at = 0.0
        self._sleeps_until = 0.0
        self._retired = False
        self._untold: list[Run] = []
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)

    # -- called from other threads -----------------------------------------------------------------

    def expect(self) -> None:
        """Note, the lock being held, that something was sent: its start is to be told soon."""
        soon = time.monotonic() + LOOK_SECONDS
        self._look_at = min(self._look_at, soon)
        if self._sleeps_until > soon or (self._sleeps_until and self._parts.dispatch.full):
            self._sleeps_until = 0.0
            self.wake()

    def tell_all(self) -> None:
        """Note, the lock being held, that all that was sent was taken, and wait until its start was told.

        What `drain` and `stop` leave behind has begun, and whoever called them must be able to know.
        """
        self._untold += self._parts.dispatch.taken_up_to(sys.maxsize)
        if self._untold and threading.current_thread() is not self:
            self.waiters += 1
            self.wake()
            self.settled.wait_for(lambda: not self._untold, TELL_SECONDS)
            self.waiters -= 1

    def wake(self) -> None:
        """End its sleep."""
        with suppress(OSError):
            self._rope.send(b"\0")

    def finish(self) -> None:
        """End the thread and wait for it: then nothing more is told."""
        self._finished = True
        self.wake()
        if self.ident is not None:
            self.join()
        self._bell.close()
        self._rope.close()

    # -- the loop ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Collect until `finish`."""
        try:
            while not self._finished:
                came = self.collect()
                now = time.monotonic()
                if now >= self._look_at:
                    self._hear()
                    self._look(now)
                if not came:
                    self._sleep()
        except BaseException as error:  # a defect of ours: the worker must not wait for this thread for ever
            log.exception("The collector failed", extra={"event": "internal_error"})
            self._retire(f"the prefork pool failed: {error!r}")

    def collect(self) -> bool:
        """Read every ring and report; return whether there was anything."""
        parts = self._parts
        dispatch = parts.dispatch
        endings: list[Ending] = []
        with parts.lock:
            top = 0
            for member in list(parts.crew.members.values()):
                if not member.damaged and not member.slot.ring.is_empty():
                    top = max(top, self._remains.read(member, endings))
            untold = list(self._untold)
            taken = untold + dispatch.taken_up_to(top)
            if endings or dispatch.waiting:
                dispatch.push()
            if dispatch.unsendable:
                taken += self._give_up_unsendable(endings)
            if taken and not self._finished:
                self._look_at = min(self._look_at, time.monotonic() + LOOK_SECONDS)
        self._tell(taken, endings)
        if untold:
            with self.settled:
                del self._untold[: len(untold)]
                self.settled.notify_all()
        return bool(endings)

    def _give_up_unsendable(self, endings: list[Ending]) -> list[Run]:
        runs = []
        for run, error in self._parts.dispatch.unsendable:
            endings.append((run, error))
            if not run.told:
                runs.append(run)
        self._parts.dispatch.unsendable.clear()
        return runs

    def _tell(self, taken: list[Run], endings: list[Ending]) -> None:
        """Tell the worker what has begun, then what has ended."""
        context = self._parts.context
        started = context.started
        for run in taken:
            self.telling = run
            try:
                started(run.request)
            except BaseException:  # a defect elsewhere must not take this thread with it
                log.exception("started failed", extra={"event": "report_failed", "id": run.request.id})
        self.telling = None
        if not endings:
            return
        outcomes = [
            ending if isinstance(ending, Outcome) else self._failed(run.request, ending) for run, ending in endings
        ]
        try:
            context.report(outcomes)
        except BaseException:  # as above
            log.exception("The report of outcomes failed", extra={"event": "report_failed"})
        if self.waiters:
            with self.settled:
                self.settled.notify_all()

    def _failed(self, request: Request, error: BaseException) -> Outcome:
        try:
            return self._parts.context.failed(request, error)
        except BaseException:  # as above; without a record, but it must end
            log.exception("A failure cannot be recorded", extra={"event": "internal_error", "id": request.id})
            reason = repr(error)
            return Outcome(key=request.key, state=FAILURE, action=Action.DEAD, reason=reason, error=reason)

    # -- looking -----------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        parts = self._parts
        dispatch, crew = parts.dispatch, parts.crew
        with parts.lock:
            running = [run.number for _, run in parts.limits.running()]
            taken = dispatch.taken_up_to(max(running, default=0))
            due = parts.limits.enforce(now)
            self._replace_stopped(now)
            if not self.lost:
                self._audit.look(now)
                crew.fill()
                dispatch.push()
            self._look_at = self._next_look(now, due)
        self._tell(taken, [])
        if crew.hopeless:
            self._retire("the children of the prefork pool end before they are ready")

    def _next_look(self, now: float, due: float | None) -> float:
        dispatch, crew = self._parts.dispatch, self._parts.crew
        times = [now + REST_SECONDS]
        if dispatch.sent or dispatch.quits:
            times.append(now + LOOK_SECONDS)
        elif dispatch.runs or any(member.stopped is not None for member in crew.members.values()):
            times.append(now + WATCH_SECONDS)
        again = crew.next_try()
        return max(now, min(each for each in (*times, due, again) if each is not None))

    def _replace_stopped(self, now: float) -> None:
        for member in self._parts.crew.members.values():
            if member.stopped is not None and now - member.stopped > STOPPED_SECONDS and not member.slot.running:
                member.stopped = now
                log.warning("An idle child is stopped; it is replaced", extra={"event": "child_stopped"})
                self._parts.crew.signal(member, signal.SIGKILL)

    # -- sleeping ----------------------------------------------------------------------------------

    def _sleep(self) -> None:
        """Wait for a child, the zygote or another thread, unless a ring is not empty."""
        parts = self._parts
        dispatch, board = parts.dispatch, parts.board
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if not self.lost:
            poll.register(parts.brood.control, select.POLLIN)
        board.sleeping = True
        barrier()
        with parts.lock:
            rings = [member.slot.ring for member in parts.crew.members.values() if not member.damaged]
            if not all(ring.is_empty() for ring in rings) or self._finished or dispatch.unsendable:
                board.sleeping = False
                return
            poll.register(dispatch.near, select.POLLIN | (select.POLLOUT if dispatch.full else 0))
            self._sleeps_until = self._look_at
        timeout = max(0.0, self._look_at - time.monotonic())
        events = dict(poll.poll(timeout * 1000 + 1))
        board.sleeping = False
        self._sleeps_until = 0.0
        if self._bell.fileno() in events:
            with suppress(OSError):
                self._bell.recv(4096)
        if events.get(dispatch.near.fileno(), 0) & select.POLLIN:
            with suppress(OSError):
                dispatch.near.recv(64, socket.MSG_DONTWAIT)
        if parts.brood.control.fileno() in events:
            self._hear()

    def _hear(self) -> None:
        """Take in what the zygote tells."""
        if self.lost:
            return
        told = orders.unpack(self._parts.brood.control, wait=False)
        if told is None:
            self._lose_zygote()
        elif told:
            self._take_in(told)

    # -- children that end -------------------------------------------------------------------------

    def _take_in(self, told: list[Order]) -> None:
        """Take in what the zygote told."""
        taken: list[Run] = []
        endings: list[Ending] = []
        with self._parts.lock:
            for news in told:
                member = self._parts.crew.note(news)
                if member is not None:
                    taken += self._remains.bury(member, news.value, endings)
            self._parts.crew.fill()
            self._parts.dispatch.push()
            self._look_at = 0.0
        self._tell(taken, endings)

    def _lose_zygote(self) -> None:
        """The zygote was killed, and the kernel has killed its children: nothing can be forked any more."""
        parts = self._parts
        self.lost = True
        members = list(parts.crew.members.values())
        pids = {member.process for member in members} - {0}
        status = parts.brood.reap()
        await_end(pids)
        endings: list[Ending] = []
        with parts.lock:
            parts.crew.closing = True
            parts.dispatch.take_back()
            taken = parts.dispatch.taken_up_to(max((member.slot.claimed for member in members), default=0))
            for member in members:
                taken += self._remains.bury(member, -signal.SIGKILL, endings)
            parts.crew.members.clear()
        self._tell(taken, endings)
        self._retire(f"the zygote of the prefork pool has ended ({status_text(status)}): no child can be forked")

    def _retire(self, why: str) -> None:
        if not self._retired and (self.lost or not self._parts.crew.closing):
            self._retired = True
            log.critical("The pool cannot go on: %s", why, extra={"event": "pool_failed"})
            self._parts.context.retire(why)
