"""A child: takes a frame from the socket that all idle children read, runs it, puts the outcome into its ring.

1. Receive straight into shared memory: with the same instruction that gives this child a frame, the kernel writes
   down that it has it.
2. Note the time, then the number of the frame as RUNNING, and call `execute`.
3. Append the outcome to the ring, then clear RUNNING. Wake the parent only if it said that it sleeps.
4. End if this frame was doomed (its limit came, or it was terminated), if the child is worn out, or told to.

A copy that a task has forked of this process, and that comes back here, ends at once: it is not the slot's child.
"""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from msgspec import Struct

from celeriac.errors import SoftTimeLimitExceeded
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac_prefork.frames import BROKEN, HEADER, NOTHING, QUIT, Frames
from celeriac_prefork.memory import barrier
from celeriac_prefork.slots import BEGUN, DOOMED, READY, RUNNING, SOFT, Board, Slot

if TYPE_CHECKING:
    from celeriac.runtime.driving import TaskLoop

__all__ = ["Child", "Wear", "Work"]

log: logging.Logger = logging.getLogger(__name__)

FULL_SECONDS = 0.001
"""How long a child waits before it looks again whether the parent has made room in its ring."""

EXIT_OK = 0
EXIT_ROBBED = 70
"""The child's socket is gone: a task has closed it."""


class Work(Struct, frozen=True, kw_only=True):
    """How a request is run, in this process."""

    execute: Callable[[Request], Outcome]
    failed: Callable[[Request, BaseException], Outcome]
    aexecute: Callable[[Request], Awaitable[Outcome]] | None = None
    is_async: Callable[[Request], bool] = lambda _: False


class Wear(Struct, frozen=True, kw_only=True):
    """After how much a child is replaced; None is never."""

    tasks: int | None = None
    memory: int | None = None
    """KiB of resident memory after a task."""


class Child:
    """The loop of one child.

    Args:
        source: The children's end of the shared socket.
        number_of_signal: What the parent sends when a soft limit is reached.
    """

    def __init__(
        self, slot: Slot, board: Board, source: socket.socket, *, frames: Frames, work: Work, wear: Wear
    ) -> None:
        self._slot = slot
        self._board = board
        self._source = source
        self._inode = os.fstat(source.fileno()).st_ino
        self._frames = frames
        self._work = work
        self._wear = wear
        self._pid = os.getpid()
        self._variables = contextvars.copy_context()
        self._running: Request | None = None
        self._number = 0
        self._softened = 0
        self._loop: TaskLoop | None = None
        # Without `aexecute`, `execute` runs coroutines too.
        self._is_async = work.is_async if work.aexecute is not None else lambda _: False

    def serve(self) -> int:
        """Run one request after the other; return the exit code when this child is to end."""
        slot, board, source = self._slot, self._board, self._source
        words, area = slot.words, slot.area
        slot.warm()
        signal.signal(signal.SIGUSR1, self._soften)
        words[READY] = self._pid
        tasks = 0
        while True:
            try:
                size = source.recv_into(area)
            except OSError:
                return EXIT_ROBBED
            if size == 0:
                return EXIT_OK
            number, kind, _ = HEADER.unpack_from(area)
            if kind == NOTHING:
                continue
            if kind == QUIT:
                return EXIT_OK
            self._handle(number, kind, area[HEADER.size : size])
            barrier()  # the parent writes `sleeping` or DOOMED and then reads the ring; here it is the other way round
            mine = self._still_mine()
            if board.sleeping and mine:
                self._wake()
            if words[DOOMED] == number:
                return EXIT_OK
            if not mine:
                return EXIT_ROBBED
            tasks += 1
            if self._worn_out(tasks):
                return EXIT_OK

    def _handle(self, number: int, kind: int, data: memoryview) -> None:
        words = self._slot.words
        words[BEGUN] = time.monotonic_ns()
        barrier()
        words[RUNNING] = number
        try:
            request = self._frames.read_request(number, kind, data)
        except Exception as error:  # noqa: BLE001  whatever it is, the run has ended and the parent must know
            self._append(BROKEN, number, f"it cannot be read: {error!r}".encode("utf-8", "backslashreplace"))
        else:
            outcome = self._run(number, request)
            if os.getpid() != self._pid:
                os._exit(EXIT_OK)
            self._report(number, outcome)
        words[RUNNING] = 0

    def _run(self, number: int, request: Request) -> Outcome | None:
        """Run a request; None if not even the failure can be told as an outcome."""
        outcome: Outcome | None = None
        try:
            if self._is_async(request):
                return self._variables.copy().run(self._await, request)
            try:
                self._number, self._running = number, request
                outcome = self._variables.copy().run(self._work.execute, request)
            finally:
                self._running = None
        except BaseException as error:  # noqa: BLE001  SystemExit, say, or the soft limit just behind the task's end
            self._running = None
            if outcome is None:
                outcome = self._failed(request, error)
        return outcome

    def _await(self, request: Request) -> Outcome:
        """Run an `async def` task on this process's loop, which has the soft limit raised where the task waits."""
        from celeriac.runtime.driving import Driven, TaskLoop, awaiting  # noqa: PLC0415  asyncio, with the first one

        assert self._work.aexecute is not None  # noqa: S101  narrows the type; `_is_async` saw it
        self._loop = self._loop or TaskLoop()
        return self._loop.run(Driven(awaiting(self._work.aexecute(request))), request.soft_time_limit)

    def _failed(self, request: Request, error: BaseException) -> Outcome | None:
        try:
            return self._work.failed(request, error)
        except BaseException:
            log.exception("A failure cannot be recorded", extra={"event": "internal_error", "id": request.id})
            return None

    def _report(self, number: int, outcome: Outcome | None) -> None:
        kind, payload = BROKEN, b"its failure cannot be recorded"
        if outcome is not None:
            try:
                kind, payload = self._frames.outcome(number, outcome)
            except Exception as error:  # noqa: BLE001  no room for a large result, say
                payload = repr(error).encode("utf-8", "backslashreplace")[:1000]
        self._append(kind, number, payload)

    def _append(self, kind: int, number: int, payload: bytes) -> None:
        while not self._slot.ring.append(kind, number, payload):
            if self._still_mine():
                self._wake()
            time.sleep(FULL_SECONDS)

    def _wake(self) -> None:
        self._board.sleeping = False
        with suppress(OSError):  # full of such bytes, or the parent has gone
            self._source.send(b"\0", socket.MSG_DONTWAIT)

    def _still_mine(self) -> bool:
        """Whether the socket still is the one that this process was given: a task may close all descriptors."""
        try:
            return os.fstat(self._source.fileno()).st_ino == self._inode
        except OSError:
            return False

    def _worn_out(self, tasks: int) -> bool:
        wear = self._wear
        return (wear.tasks is not None and tasks >= wear.tasks) or (
            wear.memory is not None and _resident_kib() > wear.memory
        )

    def _soften(self, _number: int, _frame: FrameType | None) -> None:
        """Raise in the task whose soft limit is reached, once, and in nothing else."""
        request = self._running
        number = self._number
        if request is None or self._softened == number or self._slot.words[SOFT] != number:
            return
        if os.getpid() != self._pid:
            return
        self._softened = number
        raise SoftTimeLimitExceeded(request.soft_time_limit)


def _resident_kib() -> int:
    """Return how much memory of this process is resident now; its peak where the system tells no more."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except OSError:
        import resource  # noqa: PLC0415  not needed on Linux

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
