"""The thread in which the event loop runs."""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from celeriac.runtime.driving import close_loop

__all__ = ["LoopThread", "new_loop"]

log: logging.Logger = logging.getLogger(__name__)


def new_loop(*, uvloop: bool = True) -> asyncio.AbstractEventLoop:
    """Return a new loop; one of uvloop where that is wanted and installed."""
    if uvloop:
        try:
            loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        except ImportError:
            pass
        else:
            return loop
    return asyncio.new_event_loop()


class LoopThread(threading.Thread):
    """Runs a loop until it is stopped, whatever the callbacks on it raise; then cancels what is left, and closes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.loop = loop
        self._stopping = False
        # The threads of `asyncio.to_thread`: the loop's own executor would be waited for, without end, at its close.
        self._executor = ThreadPoolExecutor(thread_name_prefix=f"{name}-to-thread")
        loop.set_default_executor(self._executor)

    def run(self) -> None:
        """Run the loop."""
        asyncio.set_event_loop(self.loop)
        while not self._stopping:
            try:
                self.loop.run_forever()
            except BaseException:  # SystemExit in an asyncio task that a user began, say: the loop is for all
                log.exception("The event loop was left, and is entered again", extra={"event": "loop_left"})
        self._executor.shutdown(wait=False, cancel_futures=True)
        try:
            close_loop(self.loop)
        except BaseException:
            log.exception("The event loop was not closed cleanly", extra={"event": "loop_left"})

    def stop(self, timeout: float) -> bool:
        """End the loop; return whether that happened in so many seconds: a task may block it."""
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(timeout)
        return not self.is_alive()
