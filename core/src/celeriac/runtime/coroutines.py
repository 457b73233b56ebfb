"""Run `async def` tasks on pools that have no event loop of their own: one loop per thread, kept between tasks."""

from __future__ import annotations

import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["CoroutineRunner"]


class CoroutineRunner:
    """Runs coroutines to their end in the calling thread, with that thread's own loop.

    A loop lives as long as its thread runs tasks, so that clients opened by one task can be used by the next.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._runners: list[asyncio.Runner] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in a copy of the current context and return its value."""
        import contextvars  # noqa: PLC0415  asyncio is loaded by the first async task, not by every worker

        runner: asyncio.Runner | None = getattr(self._local, "runner", None)
        if runner is None:
            import asyncio  # noqa: PLC0415

            runner = self._local.runner = asyncio.Runner()
            self._runners.append(runner)
        return runner.run(coroutine, context=contextvars.copy_context())

    def close(self) -> None:
        """Close every loop but those that an abandoned task still holds: only its own thread could."""
        while self._runners:
            runner = self._runners.pop()
            if not runner.get_loop().is_running():
                runner.close()
