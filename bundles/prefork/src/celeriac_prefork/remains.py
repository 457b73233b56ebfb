"""Read what children left in their slots: of one that works, the ring; of one that has ended, all there is."""

from __future__ import annotations

import logging
import signal

from celeriac.errors import WorkerLostError
from celeriac_prefork.crew import Member
from celeriac_prefork.dispatch import Run
from celeriac_prefork.fates import status_text
from celeriac_prefork.parts import Ending, Parts
from celeriac_prefork.ring import Broken

__all__ = ["Remains"]

log: logging.Logger = logging.getLogger(__name__)


class Remains:
    """Reads slots. The pool holds its lock around every call."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def read(self, member: Member, endings: list[Ending]) -> int:
        """Read the ring of a child; return the highest number that was in it."""
        parts = self._parts
        top, pid = 0, member.process
        try:
            for kind, number, payload in member.slot.ring.take():
                top = max(top, number)
                run = parts.dispatch.finish(number)
                if run is None:
                    continue
                run.pid = pid
                if run.ending is not None:
                    endings.append((run, run.ending))
                    continue
                try:
                    endings.append((run, parts.frames.read_outcome(number, kind, payload)))
                except Exception as error:  # noqa: BLE001  whatever a child may have written
                    endings.append((run, WorkerLostError(f"The child brought no outcome: {error}")))
        except Broken:
            log.exception("A child has damaged its memory", extra={"event": "child_failed", "child": member.pid})
            member.damaged = True
            parts.crew.signal(member, signal.SIGKILL)
        return top

    def bury(self, member: Member, status: int, endings: list[Ending]) -> list[Run]:
        """Settle what a child that has ended had in its slot; return the runs whose start is to be told."""
        dispatch, slot = self._parts.dispatch, member.slot
        top = 0
        if not member.damaged:
            top = self.read(member, endings)
        claimed = slot.claimed
        run = dispatch.runs.get(claimed)
        if run is not None and slot.running != claimed and run.ending is None:
            # It was killed before it began: another child will have it, and nobody need know.
            taken = dispatch.taken_up_to(max(top, claimed - 1))
            if dispatch.sent and dispatch.sent[0] is run:
                dispatch.sent.popleft()
            dispatch.put_back(run)
        else:
            taken = dispatch.taken_up_to(max(top, claimed if run is not None else 0))
            if run is not None:
                dispatch.finish(claimed)
                run.pid = member.process
                self._parts.spool.drop(claimed)
                how = f"The process that ran this task has ended: {status_text(status)}."
                endings.append((run, run.ending or WorkerLostError(how)))
        if member.damaged:
            endings += [
                (each, WorkerLostError("The memory of its child was damaged.")) for each in self._unread(claimed)
            ]
            slot.ring.reset()
        self._parts.crew.release(member)
        return taken

    def _unread(self, newest: int) -> list[Run]:
        """Take out the runs whose outcomes were in a ring that cannot be read: of those taken, what nobody else has."""
        dispatch, members = self._parts.dispatch, self._parts.crew.members.values()
        others = {number for member in members for number in (member.slot.claimed, member.slot.running)}
        others |= {number for member in members if not member.damaged for number in member.slot.ring.numbers()}
        others |= {run.number for run in dispatch.sent}
        gone = [number for number in dispatch.runs if number <= newest and number not in others]
        return [dispatch.runs.pop(number) for number in gone]
