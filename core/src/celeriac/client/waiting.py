"""Waiting for results: one reader per app and process, however many callers wait for however many tasks.

1. A caller subscribes ids with a function. The store is told to announce them (where it can), then asked once, so
   that a result stored in between is not missed.
2. Somebody reads: waits for announcements, or asks for all wanted ids with growing pauses where the store cannot
   announce. A caller that blocks reads itself, if nobody else does: no switch of threads is between the store and it.
   Else it is the thread of this object, which takes over from a reader that has what it wanted while others still wait.
3. A ready record is given to every subscriber of its id, once.
4. A broken connection is opened again and every wanted id announced and asked for anew; callers notice nothing but
   the time. The thread ends when nobody has waited for a while. A child of a fork starts without subscribers.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from celeriac.errors import DeadlineExceeded, StoreLost
from celeriac.errors import TimeoutError as ResultTimeout
from celeriac.model.record import ResultRecord
from celeriac.spi.results import ResultStore, Waits

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["Arrived", "Subscriber", "Waiter"]

logger: logging.Logger = logging.getLogger(__name__)

Arrived = ResultRecord | BaseException
Subscriber = Callable[[Arrived], None]
"""Called once, from any thread, with the record of an id or with why it will not come; must return at once."""

_OUTAGES = (StoreLost, DeadlineExceeded)
_IDLE_SECONDS = 10.0
_CHANGED_SECONDS = 1.0
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.5


class Waiter:
    """The waiting callers of one app."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._reading = threading.Lock()
        """Held by the one who reads, for a turn."""
        self._outage = _FIRST_PAUSE
        self._wanted: dict[str, list[Subscriber]] = {}
        self._stale: set[str] = set()
        self._watched_in: ResultStore | None = None
        self._thread: threading.Thread | None = None
        self._pause = _FIRST_PAUSE
        self._generation = 0

    # -- for callers -------------------------------------------------------------------------------

    def read(self, ids: Collection[str]) -> dict[str, ResultRecord]:
        """Return the records of those ids that have one; once more over a new connection if the first is broken.

        Raises: StoreLost, DeadlineExceeded: the store cannot be reached. ConfigurationError: results are not kept.
        """
        timeout = self._app.conf.result_timeout_seconds
        store = self._app.connections.results()
        try:
            return store.get(ids, timeout=timeout)
        except _OUTAGES:
            self._app.connections.drop(store)
        return self._app.connections.results().get(ids, timeout=timeout)

    def wait(self, ids: Collection[str], timeout: float | None) -> Iterable[ResultRecord]:
        """Yield the records of all these ids, in the order they become ready, within `timeout` seconds in all.

        Raises: TimeoutError: not all were ready in time. ConfigurationError: results are not kept. StoreError: the
        store refused; outages are waited out.
        """
        arrived: queue.SimpleQueue[Arrived] = queue.SimpleQueue()
        end = None if timeout is None else self._app.clock.monotonic() + timeout
        self._subscribe(ids, arrived.put)
        try:
            for count in range(len(ids)):
                if arrived.empty() and self._reading.acquire(blocking=False):
                    self._read_for(arrived, end)
                left = None if end is None else max(0.0, end - self._app.clock.monotonic())
                try:
                    item = arrived.get(timeout=left) if left != 0.0 else arrived.get_nowait()
                except queue.Empty:
                    raise ResultTimeout(_too_late(ids, count, timeout)) from None
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.unsubscribe(ids, arrived.put)

    def _read_for(self, arrived: queue.SimpleQueue[Arrived], end: float | None) -> None:
        """Read until something has arrived, or the moment `end`; then let the thread read for the others."""
        try:
            while arrived.empty():
                left = _CHANGED_SECONDS if end is None else end - self._app.clock.monotonic()
                if left <= 0:
                    break
                self._turn(min(left, _CHANGED_SECONDS))
        finally:
            self._reading.release()
            if self._wanted:
                self._wake()

    def subscribe(self, ids: Collection[str], subscriber: Subscriber) -> None:
        """Have `subscriber` called once for each of these ids, as soon as it is ready; now for those that are.

        Raises: ConfigurationError: results are not kept.
        """
        self._subscribe(ids, subscriber)
        self._wake()

    def _subscribe(self, ids: Collection[str], subscriber: Subscriber) -> None:
        if self._pid != os.getpid():
            self._start()
        connections, timeout = self._app.connections, self._app.conf.result_timeout_seconds
        if connections.results_address is None:
            connections.new_results()  # says what to set
        with self._changed:
            for each in ids:
                self._wanted.setdefault(each, []).append(subscriber)
            self._pause = _FIRST_PAUSE
        try:
            store = connections.results()
            if isinstance(store, Waits):
                store.watch(ids, timeout=timeout)
            records = store.get(ids, timeout=timeout)
        except _OUTAGES as error:
            logger.warning("result store out of reach", extra={"event": "results_lost", "error": str(error)})
            self._watched_in = None  # the thread opens a connection and starts over
        except BaseException:
            self.unsubscribe(ids, subscriber)
            raise
        else:
            self._deliver(records)

    def unsubscribe(self, ids: Collection[str], subscriber: Subscriber) -> None:
        """Stop calling `subscriber` for these ids."""
        with self._changed:
            for each in ids:
                subscribers = self._wanted.get(each)
                if subscribers and subscriber in subscribers:
                    subscribers.remove(subscriber)
                    if not subscribers:
                        del self._wanted[each]
                        self._stale.add(each)

    def close(self, close_connections: Callable[[], None]) -> None:
        """End the thread; who still waits is told so. Waiting again afterwards starts another one.

        `close_connections` is called in between: it is what ends the thread's wait for announcements.
        """
        thread = self._stop() if self._pid == os.getpid() else None
        close_connections()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CHANGED_SECONDS * 2)
            close_connections()  # it may have been about to open one

    def _stop(self) -> threading.Thread | None:
        self._fail(StoreLost("The app was closed while this waited for a result."))
        with self._changed:
            thread, self._thread = self._thread, None
            self._generation += 1
            self._watched_in = None
            self._stale.clear()
            self._changed.notify_all()
        return thread

    # -- the thread --------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._changed:
            if self._wanted and self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, args=(self._generation,), name="celeriac-results", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _serve(self, generation: int) -> None:
        while self._has_work(generation):
            with self._reading:
                if self._wanted and generation == self._generation:
                    self._turn(_CHANGED_SECONDS)

    def _has_work(self, generation: int) -> bool:
        """Wait until somebody waits; return False when this thread is to end."""
        with self._changed:
            if not self._wanted and generation == self._generation:
                self._changed.wait(_IDLE_SECONDS)
            if generation != self._generation:
                return False
            if self._wanted:
                return True
            self._thread = None
            return False

    # -- reading -----------------------------------------------------------------------------------

    def _turn(self, longest: float) -> None:
        """Read once, waiting about `longest` seconds at most; who calls this holds `_reading`."""
        store = None
        try:
            store = self._app.connections.results()
            self._step(store, longest)
            self._outage = _FIRST_PAUSE
        except _OUTAGES as error:
            logger.warning("result store out of reach", extra={"event": "results_lost", "error": str(error)})
            if store is not None:
                self._app.connections.drop(store)
            self._watched_in = None
            self._outage = min(self._outage * 2, _LONGEST_PAUSE)
            with self._changed:
                self._changed.wait(min(self._outage, longest))
        except Exception as error:  # noqa: BLE001  whatever it is, the callers must learn of it
            self._fail(error)

    def _step(self, store: ResultStore, longest: float) -> None:
        timeout = self._app.conf.result_timeout_seconds
        with self._changed:
            stale, self._stale = self._stale - self._wanted.keys(), set()
        if not isinstance(store, Waits):
            self._deliver(store.get(self._ids(), timeout=timeout))
            with self._changed:
                if self._wanted:
                    self._changed.wait(min(self._pause, longest))
                    self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
            return
        if stale:
            store.unwatch(stale, timeout=timeout)
        if self._watched_in is not store:
            wanted = self._ids()
            store.watch(wanted, timeout=timeout)
            self._watched_in = store
            self._deliver(store.get(wanted, timeout=timeout))
            return
        until = self._app.clock.monotonic() + longest
        records = store.changed(timeout=longest)
        if not records:
            if longest < _CHANGED_SECONDS and self._app.clock.monotonic() >= until:
                return  # who reads wants to wait no longer
            # Nothing came, or the store hints that it should be asked; an announcement may also have been lost.
            records = store.get(self._ids(), timeout=timeout)
        self._deliver(records)

    def _ids(self) -> list[str]:
        with self._changed:
            return list(self._wanted)

    def _deliver(self, records: dict[str, ResultRecord]) -> None:
        for task_id, record in records.items():
            if not record.ready:
                continue
            with self._changed:
                subscribers = self._wanted.pop(task_id, [])
                self._stale.add(task_id)
            for subscriber in subscribers:
                subscriber(record)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            wanted, self._wanted = self._wanted, {}
            self._stale.update(wanted)
        for subscriber in {id(each): each for subscribers in wanted.values() for each in subscribers}.values():
            subscriber(error)


def _too_late(ids: Collection[str], count: int, timeout: float | None) -> str:
    what = f"task {next(iter(ids))}" if len(ids) == 1 else f"{len(ids) - count} of {len(ids)} tasks"
    return f"No result of {what} within {timeout:g} s. It may still come: call get() again, or forget() it."
