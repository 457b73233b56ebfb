"""Raise an exception inside a thread that runs a task: into that task only, and where it does least harm.

CPython raises what `PyThreadState_SetAsyncExc` leaves with a thread at that thread's next check between byte codes, so
not while it is inside a call of C: a `time.sleep` ends first. One such exception could come too late, into whatever the
thread does after the task. So it is only given while the run is open, under a lock, and whoever closes the run takes
back one that has not come yet. See `Interruption.run`.

Between two byte codes may be inside a library that has just taken a lock and not yet entered its `try`: that lock would
never be free again. So the watcher looks at what the thread does first, and asks again a little later while that is
the standard library or Celeriac itself, for up to `PATIENCE_SECONDS`; in code that handles locks it never raises.
The look and the gift are one step, in which no other thread runs.

Source: "Asynchronous exceptions" in CPython's Python/ceval.c (checks at calls, function entries and backward jumps).
"""

from __future__ import annotations

import ctypes
import opcode
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

__all__ = ["AGAIN_SECONDS", "PATIENCE_SECONDS", "Interruption", "interruptible", "raising"]

T = TypeVar("T")

PATIENCE_SECONDS = 0.25
"""How long to wait for the thread to be in code of the task's own."""

AGAIN_SECONDS = 0.01
"""After how long to look again."""

_TAKES_LOCKS = (
    ("threading", "__enter__ __exit__ acquire release _acquire_restore _release_save notify notify_all set clear"),
    ("logging", "acquire release handle _acquireLock _releaseLock"),
)
_NEVER_IN = frozenset((module, function) for module, functions in _TAKES_LOCKS for function in functions.split())
"""Functions in which a lock is taken or given back outside of a `try`."""

_NEVER_MODULES = ("importlib._bootstrap", "importlib._bootstrap_external")
_BETWEEN = ("celeriac.client.task", "celeriac.testing.")
"""Parts of Celeriac that stand between the pool and a task's code, or take its place."""
_JUMP_BACKWARD = opcode.opmap["JUMP_BACKWARD"]
_BELOW = frozenset(f"celeriac.runtime.{name}" for name in ("executor", "interruption", "alarm", "driving"))
"""What calls tasks: nothing below it is looked at."""


def interruptible(frame: FrameType, *, patient: bool) -> bool:
    """Whether to raise into a thread whose innermost frame this is; one that is `patient` can wait for a better place.

    The best place is code of the task's own, or of its libraries, which Celeriac has not called.
    """
    module = _module(frame)
    if module in _NEVER_MODULES or (module, frame.f_code.co_name) in _NEVER_IN:
        return False
    return not patient or (_is_the_tasks_own(frame, module) and not _jumps_back(frame))


def _jumps_back(frame: FrameType) -> bool:
    """Whether it is at the end of a turn of a loop.

    CPython 3.12 and later leave that jump out of the `try` around a loop: the task could not catch what comes there.
    """
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _JUMP_BACKWARD


def _is_the_tasks_own(frame: FrameType, module: str) -> bool:
    """Whether the innermost frame is neither of the standard library nor of Celeriac, nor called by Celeriac."""
    if module.partition(".")[0] in sys.stdlib_module_names or module == "celeriac.client.task":
        return False
    current: FrameType | None = frame
    while current is not None:
        module = _module(current)
        if module in _BELOW:
            return current is not frame
        if module.startswith("celeriac.") and not module.startswith(_BETWEEN):
            return False
        current = current.f_back
    return True


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def raising(make: Callable[[], BaseException]) -> type[BaseException]:
    """Return a class that, when CPython makes an instance of it to raise it, is replaced by what `make` returns.

    An asynchronous exception is given as a class; so the error comes with its arguments all the same.
    """
    return type("Raising", (BaseException,), {"__new__": lambda _: make()})


class Interruption:
    """One thread's readiness to be interrupted; `interrupt` and `doom` are called from other threads."""

    __slots__ = ("_final", "_given", "_lock", "_run", "_thread")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._run: object = None
        self._given = False
        self._final = False

    def run(self, run: object, opened: Callable[[], None], call: Callable[..., T], *arguments: Any) -> T:
        """Call something in which interruptions may come, and none after; `run` is any object of its own.

        `opened` is called first, when they may come already. `close` may be cut short by the very exception that it
        is to take back. At most two come, a soft limit and then an end; so the third `close` is not cut short. And what
        `call` returns goes into a list by a call of C, so that it is not lost on its way into a variable.

        Raises: what `call` raises, or what it was interrupted with.
        """
        results: list[T] = []
        try:
            try:
                try:
                    self._open(run)
                    opened()
                    results.extend(map(call, *((argument,) for argument in arguments)))
                finally:
                    self.close()
            finally:
                self.close()
        except BaseException:
            self.close()
            if not results:
                raise
        return results[0]

    def doom(self, run: object, thread: int | None) -> None:
        """Allow interruptions of a thread that nobody counts on any more, until its final `close`."""
        with self._lock:
            if not self._final and thread is not None:
                self._thread = thread
                self._run = run

    def close(self, *, final: bool = False) -> None:
        """Allow none from here on, and take back one that has not come; `final`: not ever again."""
        with self._lock:
            self._run = None
            self._final = self._final or final
            if self._given:
                self._given = False
                _take_back(self._thread)

    def _open(self, run: object) -> None:
        self._thread = threading.get_ident()
        with self._lock:
            self._run = run

    def interrupt(self, run: object, make: Callable[[], BaseException], *, patient: bool) -> bool:
        """Raise what `make` returns in a run, if the moment is good; return whether there is no need to ask again."""
        with self._lock:
            if self._run is not run:
                return True
            frame = sys._current_frames().get(self._thread)
            if frame is None:
                return True
            place = frame.f_lasti
            if not interruptible(frame, patient=patient):
                return False
            self._given = _give_at(self._thread, frame, place, raising(make))
            return self._given


def _give_at(thread: int, frame: FrameType, place: int, error: type[BaseException]) -> bool:
    """Give an exception to a thread that is still where it was seen; return whether it was.

    No other thread runs between the last look and the gift. A thread may lose the interpreter after a call and at the
    end of a turn of a loop; so here the look is a step of an iterator, which is neither, and the first call the gift.
    """
    set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
    identity, given = ctypes.c_ulong(thread), ctypes.py_object(error)
    for frames in iter(sys._current_frames, None):
        if thread in frames and frames[thread] is frame and frame.f_lasti == place:
            set_error(identity, given)
            return True
        return False
    return False


def _take_back(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object())
