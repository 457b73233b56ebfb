"""What should never be needed: notices frames that the kernel gave to nobody, and children that it did not wake.

A process that is killed or stopped at the very moment it is woken for a frame passes the wake-up on to nobody; one
that is killed within the kernel, between taking a frame and writing it down, takes it along. Both take a moment of
some nanoseconds; both would be a task that waits for ever.
"""

from __future__ import annotations

import logging

from celeriac_prefork.crew import Crew
from celeriac_prefork.dispatch import Dispatch, Run

__all__ = ["Audit"]

log: logging.Logger = logging.getLogger(__name__)

AUDIT_SECONDS = 2.0


class Audit:
    """Looks at the accounts. The pool holds its lock around every call."""

    def __init__(self, crew: Crew, dispatch: Dispatch) -> None:
        self._crew = crew
        self._dispatch = dispatch
        self._first = 0
        self._next = 0.0
        self._missed: set[int] = set()

    def look(self, now: float) -> None:
        """Wake a child if a frame waits although one is idle; from time to time, find what is lost."""
        dispatch = self._dispatch
        first = dispatch.sent[0].number if dispatch.sent else 0
        if first and first == self._first and self._somebody_idle() and dispatch.unread():
            dispatch.nudge()
        self._first = first
        if now >= self._next:
            self._next = now + AUDIT_SECONDS
            self._find_lost()

    def _find_lost(self) -> None:
        """Have those runs wait again that were taken from the socket by nobody, twice in a row."""
        dispatch = self._dispatch
        missed = set(dispatch.runs) - {run.number for run in dispatch.sent if dispatch.unread()}
        for member in self._crew.members.values():
            missed -= {member.slot.running, member.slot.claimed}
        lost = missed & self._missed
        for number in sorted(lost, reverse=True):
            run = dispatch.runs[number]
            log.warning(
                "task %s[%s] was handed to nobody; again",
                run.request.task,
                run.request.id,
                extra={"event": "unclaimed"},
            )
            self._take_out(run)
            dispatch.put_back(run)
        self._missed = missed - lost

    def _take_out(self, run: Run) -> None:
        if run in self._dispatch.sent:
            self._dispatch.sent.remove(run)

    def _somebody_idle(self) -> bool:
        return any(not member.slot.running and member.stopped is None for member in self._crew.members.values())
