"""What the tasks of the pool contract do, wherever a pool runs them, and the lines they leave in a file."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from celeriac.errors import SoftTimeLimitExceeded
from celeriac.model.document import safe_repr
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request

__all__ = ["ASYNC_TASKS", "TASKS", "aexecute", "execute", "failed", "is_async", "trace"]

SLICE_SECONDS: Final = 0.002
BRIEF_SECONDS: Final = 0.01
AFTERWARDS_SECONDS: Final = 0.3
BIG_BYTES: Final = 3_000_000

_note: contextvars.ContextVar[str] = contextvars.ContextVar("note", default="nothing")
_hoard: list[bytearray] = []


def execute(request: Request) -> Outcome:
    """Do what the request's task is named for; it needs nothing of the process that it runs in."""
    trace(request, "begin")
    try:
        return Outcome(key=request.key, state=SUCCESS, reason=TASKS[request.task](request))
    finally:
        trace(request, "end")


async def aexecute(request: Request) -> Outcome:
    """Do the same on the running loop."""
    trace(request, "begin")
    try:
        return Outcome(key=request.key, state=SUCCESS, reason=await ASYNC_TASKS[request.task](request))
    finally:
        trace(request, "end")


def is_async(request: Request) -> bool:
    """Whether a request asks to be run on a loop."""
    return bool(request.message.headers.get("async"))


def failed(request: Request, error: BaseException) -> Outcome:
    """Make the outcome of a run that brought none."""
    trace(request, "gone")
    text = safe_repr(error)
    return Outcome(key=request.key, state=FAILURE, action=Action.DEAD, reason=text, error=text)


def trace(request: Request, what: str) -> None:
    """Append one line; a short write to a file opened with O_APPEND is whole, whichever process makes it."""
    path = request.message.headers.get("trace")
    if path is None:
        return
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return  # the folder went with the test, which this run outlived
    try:
        os.write(file, f"{what} {request.key} {os.getpid()}\n".encode())
    finally:
        os.close(file)


def _closed(request: Request) -> bool:
    gate = Path(request.message.headers["gate"])
    return not gate.exists() and gate.parent.exists()  # the folder goes when a test has failed


# -- what blocks -----------------------------------------------------------------------------------


def _quick(_: Request) -> str:
    """Do nothing."""
    return ""


def _gated(request: Request) -> str:
    """End when the file that the header `gate` names is there."""
    while _closed(request):
        time.sleep(SLICE_SECONDS)
    return ""


def _notes(request: Request) -> str:
    """Tell what is in a context variable, and set it."""
    found = _note.get()
    _note.set(request.id)
    return found


def _brief(_: Request) -> str:
    """Take about as long as the limits of some tests."""
    time.sleep(BRIEF_SECONDS)
    return ""


def _catches(request: Request) -> str:
    """Catch the soft limit, go on for a while, and tell how often it was raised and what it said."""
    try:
        _gated(request)
    except SoftTimeLimitExceeded as error:
        try:
            time.sleep(AFTERWARDS_SECONDS)
        except SoftTimeLimitExceeded:
            return "caught twice"
        return f"caught {error.args}"
    return "caught nothing"


def _stubborn(request: Request) -> str:
    """Swallow whatever is raised."""
    while True:
        try:
            return _gated(request)
        except BaseException:  # noqa: BLE001, S112  it is what this one is for
            continue


def _pid(_: Request) -> str:
    return str(os.getpid())


def _hoards(_: Request) -> str:
    """Keep 32 MiB for good."""
    _hoard.append(bytearray(os.urandom(1 << 20) * 32))
    return str(os.getpid())


def _big(request: Request) -> str:
    """Tell how large its body is, and some megabytes more."""
    return f"{len(request.message.body)} " + "x" * BIG_BYTES


# -- what raises, or ends its process --------------------------------------------------------------


def _exits(_: Request) -> str:
    raise SystemExit(3)


def _interrupted(_: Request) -> str:
    raise KeyboardInterrupt


def _breaks(_: Request) -> str:
    raise RuntimeError("execute broke its contract")


def _unpicklable(_: Request) -> str:
    raise type("Local", (Exception,), {})(lambda: None, open(os.devnull))  # noqa: SIM115  it shall not be copied


def _recursive(request: Request) -> str:
    return _recursive(request) + _recursive(request)


class _Hostile(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise RuntimeError("no copy")


def _hostile(_: Request) -> str:
    raise _Hostile


def _killed(_: Request) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return ""


def _segfaults(_: Request) -> str:
    ctypes.string_at(0)
    return ""


def _leaves(_: Request) -> str:
    os._exit(3)


TASKS: Final[dict[str, Callable[[Request], str]]] = {
    "quick": _quick, "gated": _gated, "notes": _notes, "brief": _brief, "catches": _catches, "stubborn": _stubborn,
    "pid": _pid, "hoards": _hoards, "big": _big, "exits": _exits, "interrupted": _interrupted, "breaks": _breaks,
    "unpicklable": _unpicklable, "recursive": _recursive, "hostile": _hostile, "killed": _killed,
    "segfaults": _segfaults, "leaves": _leaves,
}  # fmt: skip


# -- the same, awaited -----------------------------------------------------------------------------


async def _aquick(_: Request) -> str:
    return ""


async def _agated(request: Request) -> str:
    while _closed(request):
        await asyncio.sleep(SLICE_SECONDS)
    return ""


async def _anotes(request: Request) -> str:
    found = _notes(request)
    await asyncio.sleep(SLICE_SECONDS)
    return found


async def _abrief(_: Request) -> str:
    await asyncio.sleep(BRIEF_SECONDS)
    return ""


async def _acatches(request: Request) -> str:
    try:
        await _agated(request)
    except SoftTimeLimitExceeded as error:
        try:
            await asyncio.sleep(AFTERWARDS_SECONDS)
        except SoftTimeLimitExceeded:
            return "caught twice"
        return f"caught {error.args}"
    return "caught nothing"


async def _astubborn(request: Request) -> str:
    while True:
        try:
            return await _agated(request)
        except BaseException:  # noqa: BLE001, S112  it is what this one is for
            continue


async def _abreaks(request: Request) -> str:
    return _breaks(request)


ASYNC_TASKS: Final[dict[str, Callable[[Request], Awaitable[str]]]] = {
    "quick": _aquick, "gated": _agated, "notes": _anotes, "brief": _abrief, "catches": _acatches,
    "stubborn": _astubborn, "breaks": _abreaks,
}  # fmt: skip
