"""The queue that results come to: one per process and broker, shared by all stores of the process that listen.

1. The queue is named by who listens and tied to no connection: it and what waits in it outlive a connection, and it
   expires when nobody has consumed it for a while. RabbitMQ drops what is sent to a queue that does not exist.
2. One thread at a time reads: whoever waits, if nobody else does. What it reads is filed by id; stores that watch an id
   are given its record, and all who wait look again.
3. What was filed is acknowledged. So a connection that breaks loses nothing: what was not filed is delivered again.
4. Records stay to be read again until they are deleted or too many. A broken connection ends the stores that read over
   it; the next one that listens opens another, with the queue and the records as they were.
5. When the last store is closed, and was not broken, the queue is deleted.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Collection, Hashable, Sequence
from time import monotonic
from typing import Final, Protocol

from celeriac.model.record import SUCCESS, ResultRecord
from celeriac_amqp.answers import record_of
from celeriac_amqp.failures import DeadlineExceeded, LinkLost
from celeriac_amqp.frames import Incoming

__all__ = ["Line", "Listener", "Mailbox", "mailbox"]

logger: logging.Logger = logging.getLogger(__name__)

MOST_RECORDS: Final = 8192
"""How many records are kept, as in Celery's clients."""
MOST_BYTES: Final = 256 << 20
BATCH: Final = 1000
_DRAIN_SECONDS: Final = 1.0
"""How often who publishes and never waits takes what has come, so that it does not pile up in the queue."""
_EXIT_SECONDS: Final = 1.0


class Line(Protocol):
    """A connection that consumes one reply queue; opened once, lost or closed once."""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""

    def open(self, timeout: float) -> None:
        """Connect, declare the queue and begin to consume it. Raises: LinkLost, DeadlineExceeded."""

    def take(self, timeout: float) -> list[Incoming]:
        """Return what has arrived, waiting at most `timeout` seconds for the first. Raises: LinkLost."""

    def ack(self, tags: Collection[int]) -> None:
        """Acknowledge, without waiting for an answer."""

    def wake(self) -> None:
        """Make `take` return."""

    def close(self, *, delete: bool) -> None:
        """Disconnect; with `delete`, delete the queue first. Must not raise."""


class Listener:
    """One store that listens: what it watches, and what it has not been given yet."""

    def __init__(self) -> None:
        self.watched: set[str] = set()
        self.ready: dict[str, ResultRecord] = {}
        self.closed = False
        self.line: Line | None = None


class Mailbox:
    """What has arrived in one queue; `connect` makes a connection to it, not open yet."""

    def __init__(self, connect: Callable[[], Line]) -> None:
        self._connect = connect
        self.changed: threading.Condition = threading.Condition()
        self._opening = threading.Lock()
        self._line: Line | None = None
        self._readers: set[Line] = set()
        """The connections that somebody reads over at the moment."""
        self._records: dict[str, ResultRecord] = {}
        self._bytes = 0
        self._overflowed = False
        self._listeners: list[Listener] = []
        self._drained = 0.0

    def listen(self, listener: Listener, timeout: float) -> None:
        """Have a store read here, over the connection that is open, or a new one.

        Raises: LinkLost, DeadlineExceeded: it cannot be opened, or the one that the store reads over broke.
        """
        line = listener.line
        if line is not None:
            check(line)
            if monotonic() - self._drained > _DRAIN_SECONDS:
                self.drain(listener)
            return
        end = monotonic() + timeout
        if not self._opening.acquire(timeout=max(timeout, 0.0)):
            raise DeadlineExceeded("the reply queue is being opened by another thread", sent=False)
        try:
            if listener.line is not None:
                return
            line = self._line
            if line is None or line.lost:
                line = self._opened(end - monotonic())
            with self.changed:
                self._line = listener.line = line
                self._listeners.append(listener)
                self.changed.notify_all()
        finally:
            self._opening.release()

    def _opened(self, timeout: float) -> Line:
        line = self._connect()
        try:
            line.open(timeout)
        except BaseException:
            line.close(delete=False)
            raise
        return line

    def leave(self, listener: Listener, *, broken: bool) -> None:
        """Have a store read here no longer.

        The connection ends with the last store that reads over it; with the last of all, unless that is `broken`, the
        queue ends too.
        """
        line = listener.line
        with self.changed:
            listener.closed = True
            if listener in self._listeners:
                self._listeners.remove(listener)
            self.changed.notify_all()
        if line is None:
            return
        line.wake()
        with self._opening:  # a store that listens meanwhile finds the queue as it was, or declares it anew
            with self.changed:
                if any(each.line is line for each in self._listeners):
                    return
                over = not self._listeners and not broken and not line.lost
                if self._line is line:
                    self._line = None
                if over:
                    self._records.clear()
                    self._bytes = 0
            line.close(delete=over)

    def close(self) -> None:
        """Delete the queue, as the process ends."""
        line = self._line
        if line is not None and self._listeners:
            line.close(delete=not line.lost)

    # -- reading -----------------------------------------------------------------------------------

    def get(self, ids: Collection[str], listener: Listener) -> dict[str, ResultRecord]:
        """Return the records of those ids that have arrived. Raises: LinkLost."""
        self.drain(listener)
        with self.changed:
            return {id_: self._records[id_] for id_ in ids if id_ in self._records}

    def delete(self, ids: Collection[str], listener: Listener) -> int:
        """Drop the records of those ids; return how many there were. Raises: LinkLost."""
        self.drain(listener)
        with self.changed:
            gone = [self._records.pop(id_) for id_ in dict.fromkeys(ids) if id_ in self._records]
            self._bytes -= sum(len(record.payload) for record in gone)
            return len(gone)

    def drain(self, listener: Listener) -> None:
        """File what has arrived, unless somebody is about to. Raises: LinkLost."""
        line = listener.line
        if line is None:
            return
        check(line)
        with self.changed:
            if line in self._readers:
                return
            self._readers.add(line)
        self._drained = monotonic()
        self._read(line, 0.0)

    def wait(self, listener: Listener, timeout: float) -> None:
        """Read, or let another thread read, until the store is given something or is closed, or `timeout` seconds.

        Raises: LinkLost.
        """
        end = monotonic() + timeout
        line = listener.line
        if line is None:
            return
        while True:
            with self.changed:
                if listener.ready or listener.closed:
                    return
                check(line)
                left = end - monotonic()
                if left <= 0:
                    return
                if line in self._readers:
                    self.changed.wait(left)
                    continue
                self._readers.add(line)
            try:
                self._read(line, left)
            except LinkLost:
                if not listener.closed:
                    raise

    def _read(self, line: Line, timeout: float) -> None:
        messages: Sequence[Incoming] = ()
        try:
            messages = line.take(timeout)
        finally:
            with self.changed:
                self._readers.discard(line)
                for message in messages:
                    record = record_of(message)
                    if record is None:
                        logger.warning(
                            "no result of a task", extra={"event": "strange_reply", "key": message.routing_key}
                        )
                    else:
                        self._file(record)
                self.changed.notify_all()
        if messages:
            line.ack([message.tag for message in messages])

    def _file(self, record: ResultRecord) -> None:
        old = self._records.get(record.id)
        if old is not None:
            if old.state == SUCCESS or (old.ready and not record.ready):
                return
            self._bytes -= len(old.payload)
        self._records[record.id] = record
        self._bytes += len(record.payload)
        if len(self._records) > MOST_RECORDS or self._bytes > MOST_BYTES:
            self._drop_oldest()
        if record.ready:
            for listener in self._listeners:
                if record.id in listener.watched:
                    listener.ready[record.id] = record

    def _drop_oldest(self) -> None:
        if not self._overflowed:
            self._overflowed = True
            logger.warning(
                "more than %s results, or %s bytes of them, were not forgotten: the oldest are dropped."
                " Say ignore_result=True where nobody reads them",
                MOST_RECORDS,
                MOST_BYTES,
                extra={"event": "replies_dropped"},
            )
        while len(self._records) > 1 and (len(self._records) > MOST_RECORDS or self._bytes > MOST_BYTES):
            self._bytes -= len(self._records.pop(next(iter(self._records))).payload)


def check(line: Line) -> None:
    """Raises: LinkLost: the connection is gone."""
    if line.lost:
        raise LinkLost("the connection that results come over broke")


# -- one for the process ---------------------------------------------------------------------------


class _Boxes:
    """The mailboxes of this process; made anew after a fork, for the queues are the parent's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: dict[Hashable, Mailbox] = {}
        self.pid = os.getpid()


_boxes = _Boxes()
_parents: list[_Boxes] = []
"""Mailboxes of a parent process, kept untouched: collecting them would disturb its connections."""


def _renew() -> None:
    global _boxes  # noqa: PLW0603  one record per process, replaced as a whole in the child of a fork
    _parents.append(_boxes)
    _boxes = _Boxes()


def _close_all() -> None:
    for box in list(_boxes.found.values()):
        box.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
atexit.register(_close_all)


def mailbox(key: Hashable, connect: Callable[[], Line]) -> Mailbox:
    """Return the mailbox of this process at `key`, which names broker and queue; made by `connect` if there is none."""
    with _boxes.lock:
        found = _boxes.found.get(key)
        if found is None:
            found = _boxes.found[key] = Mailbox(connect)
        return found
