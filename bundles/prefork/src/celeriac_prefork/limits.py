"""Time limits and forced ends, as the parent keeps them: by looking at the slots.

A slot says which task runs and since when. At its soft limit the number of its frame is written into the slot and
SIGUSR1 sent: the child's handler raises only if that number still is what runs. At its hard limit the child is doomed
and killed. To doom a child is to write the number of the frame after which it takes no other; then to look whether it
has ended already. The child does the same the other way round, so either it ends by itself after that frame or the
parent sees its outcome and does not kill: nothing but the run that was meant is ever hit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence

from celeriac.errors import TaskRevokedError, TimeLimitExceeded
from celeriac_prefork.crew import Crew, Member
from celeriac_prefork.dispatch import Dispatch, Run
from celeriac_prefork.memory import barrier
from celeriac_prefork.ring import Broken
from celeriac_prefork.slots import BEGUN, DOOMED, SOFT

__all__ = ["Limits"]

GRACE_SECONDS = 5.0
"""How long a run that is terminated by a signal may take to end before it is killed."""


class Limits:
    """Looks at what runs. The pool holds its lock around every call."""

    def __init__(self, crew: Crew, dispatch: Dispatch) -> None:
        self._crew = crew
        self._dispatch = dispatch

    def running(self) -> Iterator[tuple[Member, Run]]:
        """Return every child that runs something, and what."""
        for member in self._crew.members.values():
            run = self._dispatch.runs.get(member.slot.running)
            if run is not None:
                yield member, run

    def place(self, key: int) -> int | None:
        """Return the process id of the child that has taken the request of a key; None if none has."""
        for member in self._crew.members.values():
            run = self._dispatch.runs.get(member.slot.claimed)
            if run is not None and run.request.key == key:
                return member.process
        return None

    def holder(self, run: Run) -> int:
        """Return the process id of the child that has a run, or its outcome in its ring; 0 if none has yet."""
        for member in self._crew.members.values():
            if member.slot.claimed == run.number or run.number in _unread(member):
                return member.process
        return 0

    def enforce(self, now: float) -> float | None:
        """Do what is due by now; return when something will be due next. Both are of `time.monotonic`."""
        nearest: list[float] = []
        for member, run in list(self.running()):
            request = run.request
            if run.kill_at is not None:
                nearest.append(self._kill_late(member, run, now))
                continue
            if request.time_limit is None and request.soft_time_limit is None:
                continue
            barrier()
            begun = member.slot.words[BEGUN] / 1e9
            if request.time_limit is not None:
                if now >= begun + request.time_limit:
                    self._end(member, run, TimeLimitExceeded(request.time_limit), signal.SIGKILL)
                    continue
                nearest.append(begun + request.time_limit)
            if request.soft_time_limit is not None and not run.softened:
                if now >= begun + request.soft_time_limit:
                    run.softened = True
                    member.slot.words[SOFT] = run.number
                    self._crew.signal(member, signal.SIGUSR1)
                else:
                    nearest.append(begun + request.soft_time_limit)
        return min(nearest, default=None)

    def terminate(self, key: int, number: int) -> bool:
        """End the run of a key with a signal, and by force if that does not do; return whether it was running."""
        for member, run in self.running():
            if run.request.key == key and run.ending is None:
                return self._end(member, run, TaskRevokedError("terminated"), number)
        return False

    def _end(self, member: Member, run: Run, why: BaseException, number: int) -> bool:
        words = member.slot.words
        words[DOOMED] = run.number
        barrier()
        if run.number in _unread(member) or member.slot.running != run.number:
            return False
        run.ending = why
        run.kill_at = time.monotonic() + GRACE_SECONDS
        self._crew.signal(member, number)
        return True

    def _kill_late(self, member: Member, run: Run, now: float) -> float:
        if run.kill_at is not None and now >= run.kill_at:
            run.kill_at = now + GRACE_SECONDS
            self._crew.signal(member, signal.SIGKILL)
        return run.kill_at or now


def _unread(member: Member) -> Sequence[int]:
    """Return the numbers of the runs whose outcomes are in the ring of a child."""
    if member.slot.ring.is_empty():
        return ()
    try:
        return member.slot.ring.numbers()
    except Broken:
        return ()
