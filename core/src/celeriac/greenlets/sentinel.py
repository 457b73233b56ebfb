"""A real thread that watches a hub, and says which task holds it up.

While a task computes, no greenlet runs: nothing is received, settled or renewed, no limit is kept. Only a thread of the
system can see that. It uses nothing that the patch has replaced, and takes no lock that a greenlet may hold:

1. A greenlet notes the time, a few times a second. When the note is old, the hub is held up.
2. Then the thread writes a line with the stack of the task to where the log goes, past the locks of `logging`; and has
   the lease renewed by a process of its own (`Pacemaker`).
3. When the hub is free again the greenlet logs how long it was not.

A process that stood still as a whole, because it was stopped or its machine asleep, is no task's fault, and its lease
must lapse. It is told from one that computes by the processor time that it has used.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from celeriac.greenlets.hub import Greenlet, Hub
from celeriac.greenlets.pacemaker import Pacemaker
from celeriac.model.request import Request

__all__ = ["Sentinel"]

log: logging.Logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2
END_SECONDS = 1.0
"""How long `stop` waits for the thread, which may be starting the pacemaker."""
FRAMES = 20
"""How much of a stack to tell."""


class Sentinel:
    """Watches the hub of the thread that starts it.

    Args:
        running: Returns what runs, and on which greenlets; is called by the thread.
        blocked_seconds: After how long to tell; then again each time it has doubled.
    """

    def __init__(
        self, hub: Hub, running: Callable[[], list[tuple[Request, Greenlet]]], *, blocked_seconds: float
    ) -> None:
        self.pacemaker: Pacemaker | None = None
        """What renews the lease while the hub cannot."""
        self._hub = hub
        self._running = running
        self._blocked_seconds = blocked_seconds
        self._noted = 0.0
        self._told = 0.0
        self._culprit = ""
        self._failure: Exception | None = None
        self._hub_thread = 0
        self._ticker: Greenlet | None = None
        self._over: Any = None
        """A lock of the system, free once the thread is to end."""
        self._ended: Any = None
        """One that is free once it does."""

    def start(self) -> None:
        """Begin to watch."""
        original = self._hub.original
        make = original("_thread", "allocate_lock")
        self._over, self._ended = make(), make()
        self._over.acquire()
        self._ended.acquire()
        self._hub_thread = original("_thread", "get_ident")()
        self._noted = time.monotonic()
        self._ticker = self._hub.spawn(self._tick)
        original("_thread", "start_new_thread")(self._watch, ())

    def stop(self) -> None:
        """Watch no longer."""
        if self._ticker is not None:
            self._hub.kill(self._ticker)
            self._ticker = None
            self._over.release()
            self._ended.acquire(timeout=END_SECONDS)

    # -- in the hub --------------------------------------------------------------------------------------

    def _tick(self) -> None:
        while True:
            late, told = time.monotonic() - self._noted, self._told
            self._noted, self._told = time.monotonic(), 0.0
            if told:
                log.warning(
                    "nothing else could run for %.1f s: %s did not wait; it belongs on a pool of processes",
                    late,
                    self._culprit,
                    extra={"event": "hub_blocked", "seconds": late},
                )
            if self._failure is not None:
                failure, self._failure = self._failure, None
                log.warning("the lease cannot be renewed from outside: %r", failure, extra={"event": "no_pacemaker"})
            self._hub.sleep(TICK_SECONDS)

    # -- in the thread -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            self._watch_until_over()
        finally:
            self._ended.release()

    def _watch_until_over(self) -> None:
        looked, used = time.monotonic(), time.process_time()
        while not self._over.acquire(timeout=TICK_SECONDS):
            now, now_used = time.monotonic(), time.process_time()
            gap = now - looked
            if gap > 5 * TICK_SECONDS and now_used - used < gap / 2:
                self._noted = now  # the whole process stood still
            looked, used = now, now_used
            late = now - self._noted
            self._pace(now, late)
            if late >= max(self._blocked_seconds, 2 * self._told):
                self._told = late
                self._culprit = self._find()
                self._write(f"nothing else has run for {late:.1f} s: {self._culprit} does not wait\n{self._stack()}")

    def _pace(self, now: float, late: float) -> None:
        pacemaker = self.pacemaker
        if pacemaker is None or late < pacemaker.patience:
            return
        try:
            pacemaker.beat(now)
        except Exception as error:  # noqa: BLE001  a thread nobody waits for must tell, and go on watching
            self.pacemaker, self._failure = None, error

    def _find(self) -> str:
        for request, greenlet in self._running():
            if greenlet.gr_frame is None and not greenlet.dead:
                return f"task {request.task}[{request.id}]"
        return "something that is no task"

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._hub_thread)  # documented, for exactly this
        return "".join(traceback.format_stack(frame)[-FRAMES:]).rstrip() if frame is not None else ""

    def _write(self, text: str) -> None:
        """Write to where the root logger's handlers do; their locks may be held by the greenlet that is stuck."""
        record = log.makeRecord(
            log.name, logging.WARNING, __file__, 0, text, (), None, extra={"event": "hub_blocked_now"}
        )
        for handler in logging.getLogger().handlers:
            stream = getattr(handler, "stream", None)
            try:
                os.write(stream.fileno(), f"{handler.format(record)}\n".encode())  # type: ignore[union-attr]
            except (AttributeError, OSError, ValueError):
                continue  # it writes to no file; the line that follows when the hub is free will get there
