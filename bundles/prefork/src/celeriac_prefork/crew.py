"""The parent's account of its children: which slots have one, how many there should be, and when to try again."""

from __future__ import annotations

import logging
import socket
import time

from msgspec import Struct

from celeriac_prefork import orders
from celeriac_prefork.dispatch import Dispatch
from celeriac_prefork.memory import SharedFile
from celeriac_prefork.orders import Order
from celeriac_prefork.slots import Slot

__all__ = ["Crew", "Member"]

log: logging.Logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds before another child is forked after one that ended before it was ready."""
HOPELESS = 10
"""After so many of them in a row the pool cannot go on."""


class Member(Struct, eq=False):
    """One child."""

    slot: Slot
    pid: int = 0
    """0 until the zygote has told it."""
    stopped: float | None = None
    """Since when it has been stopped by a signal."""
    damaged: bool = False
    """Whether its ring cannot be read any more."""

    @property
    def process(self) -> int:
        """Its process id, from whoever told it first; 0 if nobody has."""
        return self.pid or self.slot.ready


class Crew:
    """Who is there, and who should be.

    Args:
        control: The parent's end of the socket to the zygote.
        wanted: How many children there are to be.
    """

    def __init__(self, file: SharedFile, control: socket.socket, dispatch: Dispatch, wanted: int) -> None:
        self.wanted: int = wanted
        self.members: dict[int, Member] = {}
        self.failures: int = 0
        """How many children in a row ended before they were ready."""
        self.closing: bool = False
        self._file = file
        self._control = control
        self._dispatch = dispatch
        self._slots: dict[int, Slot] = {}
        self._pause_until = 0.0

    @property
    def hopeless(self) -> bool:
        """Whether children do not even start up."""
        return self.failures >= HOPELESS

    def next_try(self) -> float | None:
        """Return when to `fill` again, by `time.monotonic`; None where nobody is missing."""
        return None if self.closing or self._missing() <= 0 else self._pause_until

    def fill(self) -> None:
        """Order the children that are missing, or the end of those that are too many."""
        missing = self._missing()
        if missing < 0:
            self._dispatch.quit(-missing)
        if self.closing or missing <= 0 or time.monotonic() < self._pause_until:
            return
        wanted: list[Order] = []
        index = 0
        while len(wanted) < missing:
            if index not in self.members:
                self.members[index] = Member(self._slot(index))
                wanted.append(Order(orders.FORK, index))
            index += 1
        self.order(wanted)

    def resize(self, count: int) -> None:
        """Have so many children from now on."""
        self.wanted = count
        if self._dispatch.quits:
            self._dispatch.take_back()  # and with it what would still end children
        self.fill()

    def order(self, wanted: list[Order]) -> None:
        """Tell the zygote, which reads at once."""
        for message in orders.pack(wanted):
            try:
                self._control.send(message)
            except OSError:
                return  # it has ended, which the other direction of the socket tells

    def signal(self, member: Member, number: int) -> None:
        """Send a signal to a child, if it is still there."""
        if pid := member.process:
            self.order([Order(orders.SIGNAL, member.slot.index, pid, int(number))])

    def note(self, news: Order) -> Member | None:
        """Note what the zygote tells; return the child that has ended, if that is it."""
        member = self.members.get(news.slot)
        if member is None:
            return None
        if news.kind == orders.BORN:
            member.pid = news.pid
        elif news.kind == orders.STOPPED and member.pid == news.pid:
            member.stopped = time.monotonic() if news.value else None
        elif news.kind == orders.UNBORN:
            del self.members[news.slot]
            self._fail(f"cannot be forked (error {news.value})")
        elif news.kind == orders.DIED:
            del self.members[news.slot]
            if member.slot.ready:
                self.failures = 0
            else:
                self._fail(f"ended before it was ready ({news.value})")
            return member
        return None

    def release(self, member: Member) -> None:
        """Make the slot of a child that has ended ready for another."""
        self._dispatch.quits.discard(member.slot.claimed)
        member.slot.clear()

    def close(self) -> None:
        """Unmap the slots."""
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()
        self.members.clear()

    def _missing(self) -> int:
        return self.wanted - (len(self.members) - len(self._dispatch.quits))

    def _slot(self, index: int) -> Slot:
        slot = self._slots.get(index)
        if slot is None:
            Slot.reserve(self._file, index + 1)
            slot = self._slots[index] = Slot(self._file, index)
        return slot

    def _fail(self, how: str) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.failures)
        self.failures += 1
        self._pause_until = time.monotonic() + pause
        if not self.closing:
            log.error("A child %s; the next one in %.2f s", how, pause, extra={"event": "child_failed"})
