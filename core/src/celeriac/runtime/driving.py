"""Raise a soft time limit inside a coroutine, at the place where it waits.

asyncio can only cancel: the coroutine sees CancelledError, and the libraries under it rely on that: TaskGroup,
`wait_for` and connection pools tidy up when it comes, and on nothing else. A task, however, wants to catch
SoftTimeLimitExceeded and go on. So the asyncio task is cancelled, and the exception is exchanged on its way in for one
that is both: libraries see a cancellation, the task its soft limit. As it was exchanged, the task is not being
cancelled any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from celeriac.errors import SoftTimeLimitExceeded

__all__ = ["Driven", "TaskLoop", "awaiting", "close_loop", "soft_limit"]

T = TypeVar("T")

CLOSING_SECONDS = 0.3
"""How long tasks that were cancelled have to end when their loop is closed."""


class _SoftLimit(SoftTimeLimitExceeded, asyncio.CancelledError):
    """The soft limit as a coroutine sees it; outside of it, in records and pickles, it is its first base."""

    def __reduce__(self) -> tuple[Any, ...]:
        return SoftTimeLimitExceeded.from_parts, (self.args, dict(self.__dict__))


_SoftLimit.__name__ = _SoftLimit.__qualname__ = SoftTimeLimitExceeded.__qualname__
_SoftLimit.__module__ = SoftTimeLimitExceeded.__module__


def soft_limit(seconds: float) -> SoftTimeLimitExceeded:
    """Return the error that a coroutine gets at its soft limit."""
    return _SoftLimit(seconds)


class Driven(Coroutine[Any, Any, T]):
    """A coroutine into which its soft limit can be raised, once. Give it to a loop as a task."""

    __slots__ = ("_coroutine", "_error", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None

    def interrupt(self, error: BaseException) -> None:
        """Raise an error where the coroutine waits, on its next turn. Called on its loop, after it has begun."""
        if self._task is not None and not self._task.done():
            self._error = error
            self._task.cancel()

    def withdraw(self) -> None:
        """Raise nothing: a cancellation that comes now is one."""
        self._error = None

    def cancel(self) -> None:
        """Cancel the coroutine. Called on its loop."""
        self.withdraw()
        if self._task is not None:
            self._task.cancel()

    def send(self, value: Any) -> Any:
        """Let the coroutine go on."""
        if self._task is None:
            self._task = asyncio.current_task()
        if self._error is not None:  # what it waited for has swallowed the cancellation
            return self._coroutine.throw(self._exchanged())
        return self._coroutine.send(value)

    def throw(self, error: Any, *rest: Any) -> Any:
        """Raise in the coroutine; a cancellation that stands for something else is exchanged for it."""
        if self._error is not None and isinstance(error, asyncio.CancelledError):
            error = self._exchanged()
        return self._coroutine.throw(error, *rest)

    def close(self) -> None:
        """Close the coroutine."""
        self._coroutine.close()

    def _exchanged(self) -> BaseException:
        error, self._error = self._error, None
        assert error is not None and self._task is not None  # noqa: S101, PT018  narrows the types
        self._task.uncancel()
        return error

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()


async def awaiting(awaitable: Awaitable[T]) -> T:
    """Return what an awaitable brings: a coroutine of anything that can be awaited."""
    return await awaitable


class TaskLoop:
    """The loop of one thread, kept between the tasks that it runs, so that clients opened by one serve the next."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, driven: Driven[T], soft_seconds: float | None = None) -> T:
        """Run a coroutine to its end in a copy of the current context, with a soft limit or None.

        Raises: CancelledError: it was cancelled. Whatever the coroutine raises.
        """
        loop = self._loop = self._loop or asyncio.new_event_loop()
        timer = None
        if soft_seconds is not None:
            timer = loop.call_later(soft_seconds, driven.interrupt, soft_limit(soft_seconds))
        task = loop.create_task(driven, context=copy_context())
        try:
            return loop.run_until_complete(task)
        finally:
            if timer is not None:
                timer.cancel()
            if not task.done():  # what was raised hit the loop itself, which may have lost a step of anything
                self.close()

    def cancel(self, driven: Driven[Any]) -> None:
        """Cancel a coroutine from another thread."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(driven.cancel)

    def close(self) -> None:
        """Cancel what is left on the loop and close it. Called in its thread."""
        loop, self._loop = self._loop, None
        if loop is not None:
            close_loop(loop)


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel every task of a loop, give them `CLOSING_SECONDS` to end, and close it. Called in its thread."""
    try:
        if tasks := asyncio.all_tasks(loop):
            for task in tasks:
                if not task.cancelling():  # a second time would cut short how it tidies up
                    task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSING_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
