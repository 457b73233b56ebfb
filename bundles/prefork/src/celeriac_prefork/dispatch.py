"""The parent's end of the socket that all idle children read from.

1. Requests wait in a deque; a few more than there are children are in the socket, so that no child waits for the
   parent, and taking back what has not started costs little.
2. The kernel gives each frame to one idle child, oldest first. So when one frame is known to be taken, all before it
   are too: runs are told as started in their order, whatever order their children tell of them in.
3. `drain` reads the socket itself: what the parent receives, no child can.

Nothing here is safe by itself: the pool holds its lock around every call.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from celeriac.model.request import Request
from celeriac_prefork.frames import HEADER, NOTHING, QUIT, Frames
from celeriac_prefork.slots import FRAME_LIMIT
from celeriac_prefork.spool import Spool

__all__ = ["Dispatch", "Run"]

AHEAD = 64
"""How many frames beyond one for each child are in the socket: some tenths of a millisecond of tiny tasks."""

_DONTWAIT = socket.MSG_DONTWAIT


class Run(Struct, eq=False):
    """One request in the pool."""

    request: Request
    number: int = 0
    """Of the frame it was sent in; 0 while it waits here."""
    told: bool = False
    """Whether its start was told."""
    softened: bool = False
    """Whether its soft limit was reached."""
    ending: BaseException | None = None
    """Why it is being ended by force."""
    pid: int = 0
    """Of the process that ran it; 0 until it has ended."""
    kill_at: float | None = None
    """When it is killed if what was sent before has not ended it."""


class Dispatch:
    """What waits, what is in the socket, and what children have taken."""

    def __init__(self, frames: Frames, spool: Spool) -> None:
        self.near: socket.socket
        self.far: socket.socket
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.near, self.far):
            end.settimeout(None)
        self.window: int = AHEAD
        self.full: bool = False
        """Whether the socket, and not the window, holds back what waits."""
        self.waiting: deque[Run] = deque()
        self.sent: deque[Run] = deque()
        """Those in the socket, as far as is known; some may have been taken."""
        self.runs: dict[int, Run] = {}
        """Those in the socket, and those that children have, by number."""
        self.quits: set[int] = set()
        """The numbers of frames that end a child and have not yet done so."""
        self.unsendable: list[tuple[Run, Exception]] = []
        self._frames = frames
        self._spool = spool
        self._numbers = 0
        self._next: tuple[int, bytes] | None = None
        """The first of those that wait, as a frame for which there was no room."""

    def add(self, requests: Iterable[Request]) -> None:
        """Have requests wait, and send what there is room for."""
        self.waiting.extend([Run(request) for request in requests])
        self.push()

    def push(self) -> None:
        """Send what there is room for."""
        waiting, sent, runs = self.waiting, self.sent, self.runs
        self.full = False
        while waiting and len(sent) < self.window:
            run = waiting[0]
            if self._next is None:
                self._numbers += 1
                try:
                    self._next = self._numbers, self._frames.request(self._numbers, run.request)
                except Exception as error:  # noqa: BLE001  this one only: it cannot be pickled, the disk is full
                    self.unsendable.append((waiting.popleft(), error))
                    continue
            number, frame = self._next
            if not self._send(frame):
                self.full = True
                return
            self._next = None
            run.number = number
            runs[number] = run
            sent.append(waiting.popleft())

    def taken_up_to(self, number: int) -> list[Run]:
        """Note that the frame of a number was taken, and so all before it; return those not told as started."""
        sent = self.sent
        taken = []
        while sent and sent[0].number <= number:
            run = sent.popleft()
            if not run.told:
                run.told = True
                taken.append(run)
        return taken

    def finish(self, number: int) -> Run | None:
        """Take out a run that has ended; None if it is not here, or not any more."""
        return self.runs.pop(number, None)

    def put_back(self, run: Run) -> None:
        """Have a run that no child has begun wait again, before all others."""
        self._forget_next()
        self._spool.drop(run.number)
        self.runs.pop(run.number, None)
        run.number = 0
        self.waiting.appendleft(run)

    def take_back(self) -> None:
        """Have everything that is in the socket wait again, in its order."""
        back: list[Run] = []
        for number in self._receive_all():
            self.quits.discard(number)
            run = self.runs.pop(number, None)
            if run is not None:
                back.append(run)
        # Those that are not in the socket any more were taken; when the next of them is heard of, they are told.
        self.sent = deque(run for run in self.sent if run.number in self.runs)
        for run in reversed(back):
            self.put_back(run)

    def drain(self) -> list[Request]:
        """Take back what has not started."""
        self.take_back()
        drained = [run.request for run in self.waiting if not run.told]
        self.waiting = deque(run for run in self.waiting if run.told)
        self._forget_next()
        return drained

    def quit(self, count: int) -> None:
        """End so many children, each after what it runs: those that are the first to be free."""
        self.take_back()
        for _ in range(count):
            self._numbers += 1
            if self._send(HEADER.pack(self._numbers, QUIT, 0)):
                self.quits.add(self._numbers)

    def nudge(self) -> None:
        """Wake a child: one that was woken for the last frame may have been stopped or killed just then."""
        self._send(HEADER.pack(0, NOTHING, 0))

    def unread(self) -> int:
        """Return how many bytes are in the socket."""
        answer = fcntl.ioctl(self.far.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return int(struct.unpack("=i", answer)[0])

    def end(self) -> None:
        """Send nothing more: a child that reads on reads the end."""
        self.near.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both ends."""
        self.near.close()
        self.far.close()

    def _send(self, frame: bytes) -> bool:
        try:
            self.near.send(frame, _DONTWAIT)
        except OSError:  # no room, or no memory for it now
            return False
        return True

    def _receive_all(self) -> list[int]:
        numbers: list[int] = []
        while True:
            try:
                frame = self.far.recv(FRAME_LIMIT, _DONTWAIT)
            except BlockingIOError:
                return numbers
            if not frame:
                return numbers
            numbers.append(HEADER.unpack_from(frame)[0])

    def _forget_next(self) -> None:
        if self._next is not None:
            self._spool.drop(self._next[0])
            self._next = None
