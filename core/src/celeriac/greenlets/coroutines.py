"""Run `async def` tasks beside greenlets: one asyncio loop, in a greenlet of its own.

asyncio keeps in one place per thread which loop runs. All greenlets share a thread, so while the loop waits it must not
seem to run: a task on another greenlet may have a loop of its own.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from celeriac.errors import SoftTimeLimitExceeded, WorkerLostError
from celeriac.greenlets.hub import Hub
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.runtime.driving import Driven, soft_limit

if TYPE_CHECKING:
    from selectors import SelectSelector as DefaultSelector
else:
    # Which class it is depends on the system, and on the patch: it lets other greenlets run while it waits.
    DefaultSelector = selectors.DefaultSelector

__all__ = ["Coroutines"]

CLOSE_SECONDS = 1.0
"""How long what is cancelled at the end may take to tidy up."""


class Coroutines:
    """One loop for all `async def` tasks of a pool; it begins with the first of them."""

    def __init__(self, hub: Hub, aexecute: Callable[[Request], Any]) -> None:
        self._hub = hub
        self._aexecute = aexecute
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runs: set[_Run] = set()
        self._ended = threading.Event()

    def execute(self, request: Request) -> Outcome:
        """Run a request on the loop, and wait for it in the calling greenlet.

        A SoftTimeLimitExceeded that is raised in the greenlet is raised in the coroutine; whatever else is raised
        there, by who kills it, cancels the coroutine.
        """
        loop = self._loop or self._begin()
        run = _Run(self._aexecute(request))
        self._runs.add(run)
        loop.call_soon_threadsafe(run.begin, loop, context=copy_context())
        try:
            return self._wait(run, loop)
        finally:
            self._runs.discard(run)

    def close(self) -> None:
        """Cancel what still runs, and end the loop."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        for run in self._runs:
            loop.call_soon_threadsafe(run.cancel)
        loop.call_soon_threadsafe(loop.stop)
        self._ended.wait(CLOSE_SECONDS)

    def _wait(self, run: _Run, loop: asyncio.AbstractEventLoop) -> Outcome:
        while not run.ended.is_set():
            try:
                run.ended.wait()
            except SoftTimeLimitExceeded as error:
                loop.call_soon_threadsafe(run.interrupt, soft_limit(*error.args))
            except BaseException:
                loop.call_soon_threadsafe(run.cancel)
                raise
        return run.result()

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.SelectorEventLoop(_Hiding())
        self._hub.spawn(lambda: self._serve(loop))
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
            loop.run_until_complete(asyncio.sleep(0))  # what was cancelled has its turn
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            self._ended.set()


class _Hiding(DefaultSelector):
    """While it waits, and other greenlets run, no loop seems to run."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = asyncio._get_running_loop()  # documented, for those who make loops
        asyncio._set_running_loop(None)
        try:
            return super().select(timeout)
        finally:
            asyncio._set_running_loop(loop)


class _Run:
    """One coroutine on the loop. All but `ended` and `result` is called there."""

    def __init__(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        self.ended: threading.Event = threading.Event()
        self._driven = Driven(coroutine)
        self._task: asyncio.Task[Outcome] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._driven)
        self._task.add_done_callback(lambda _: self.ended.set())

    def interrupt(self, error: BaseException) -> None:
        """Raise an error where the coroutine waits."""
        self._driven.interrupt(error)

    def cancel(self) -> None:
        if self._task is not None:
            self._driven.cancel()
            self._task.cancel()  # also one that has not begun

    def result(self) -> Outcome:
        assert self._task is not None  # noqa: S101  narrows the type: it has ended
        try:
            return self._task.result()
        except SoftTimeLimitExceeded:  # which is a cancellation, too
            raise
        except asyncio.CancelledError as error:
            raise WorkerLostError("The asyncio task that ran it was cancelled.") from error
