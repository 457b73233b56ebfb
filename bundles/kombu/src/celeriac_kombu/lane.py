"""A thread that owns one connection of kombu, for every call that uses it.

kombu's connections may not be shared by threads, many of its drivers neither take a deadline nor can be interrupted,
and some objects of theirs may only be used by the thread that made them. So each connection has one thread, its lane;
callers hand it work and wait as long as they can. A call that exceeds its deadline there has ended the lane for all:
the thread may be blocked for ever, and nobody can know what became of the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from queue import SimpleQueue
from typing import Any, TypeVar

from celeriac.errors import CeleriacError, DeadlineExceeded
from celeriac_kombu.link import Link

__all__ = ["Lane", "LaneLost"]

T = TypeVar("T")


class LaneLost(Exception):
    """The connection of this lane is gone."""


class Lane:
    """Runs work on a link, one piece after the other."""

    def __init__(self, link: Link, name: str) -> None:
        self.link = link
        self._lost: str = ""
        self._jobs: SimpleQueue[tuple[Callable[[Link], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"celeriac-kombu-{name}", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether nothing more can be done on it."""
        return bool(self._lost)

    def open(self, timeout: float) -> None:
        """Start the thread and connect."""
        self._thread.start()
        self.run(Link.open, what="connecting", timeout=timeout)

    def submit(self, work: Callable[[Link], T]) -> Future[T]:
        """Have `work` done; return its future, which can be cancelled as long as it has not begun.

        Raises: LaneLost: the connection is gone.
        """
        if self._lost:
            raise LaneLost(self._lost)
        future: Future[T] = Future()
        self._jobs.put((work, future))
        return future

    def run(self, work: Callable[[Link], T], *, what: str, timeout: float) -> T:
        """Have `work` done and return what it returns.

        Raises: LaneLost: the connection broke, or has not answered within `timeout` seconds; it is not known what
            became of the work. DeadlineExceeded: it has not begun. CeleriacError: what `work` itself refuses.
        """
        future = self.submit(work)
        try:
            return future.result(max(0.0, timeout))
        except FutureTimeout:
            if future.cancel():
                raise DeadlineExceeded(f"{what}: the connection, which is busy,", timeout) from None
            self._lost = f"no answer to {what} within {timeout:g} s"
            raise LaneLost(self._lost) from None

    def close(self, timeout: float) -> None:
        """Disconnect, waiting at most `timeout` seconds for the thread to end."""
        self._lost = self._lost or "it was closed"
        self._jobs.put(None)
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, future = job
            if future.set_running_or_notify_cancel():
                self._carry_out(work, future)
        self.link.close()

    def _carry_out(self, work: Callable[[Link], Any], future: Future[Any]) -> None:
        try:
            result = work(self.link)
        except CeleriacError as error:
            future.set_exception(error)
        except ImportError as error:
            future.set_exception(self.link.target.missing(error))
        except BaseException as error:  # noqa: BLE001  whatever a driver raises, its connection is of no more use
            self._lost = self._lost or f"{type(error).__name__}: {error}"
            lost = LaneLost(self._lost)
            lost.__cause__ = error
            future.set_exception(lost)
        else:
            future.set_result(result)
