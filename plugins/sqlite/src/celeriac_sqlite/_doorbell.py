"""Waking who waits, in whatever process, without polling.

1. A process that is about to wait binds a UDP port on the loopback interface and writes it into `listener`, with
   what it waits for (a queue's id, or `RESULTS`) and until when the entry counts.
2. Who commits something of interest reads the ports in the same transaction and sends each an empty datagram
   after the commit.
3. A datagram is a hint and may be lost (a full buffer, another network namespace): who waits also looks by itself
   every `poll_seconds`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from celeriac.kernel.clock import Clock
from celeriac_sqlite._moments import latest_start
from celeriac_sqlite._statements import insert
from celeriac_sqlite._statements import select as select_rows

if TYPE_CHECKING:
    from celeriac_sqlite._database import Database

__all__ = ["RESULTS", "Doorbell", "Doorbells", "Ringer", "ports_of"]

RESULTS: Final = 0
"""The topic of results; every other topic is the id of a queue, and those begin at 1."""
LISTENER_SECONDS: Final = 60.0
_REAL_SLICE_SECONDS: Final = 0.01
"""How often a wait looks at a clock that is not the machine's: a test moves it without a datagram."""
_LOOPBACK: Final = "127.0.0.1"


def ports_of(connection: sqlite3.Connection, topics: Collection[int], clock: Clock) -> list[int]:
    """Return the ports of the processes that listen to any of these topics."""
    now = clock.monotonic()
    # An entry from further ahead than any can be was written before the machine started anew.
    rows = select_rows(
        connection,
        "SELECT DISTINCT port FROM listener WHERE expires > ? AND expires <= ? AND topic IN (??)",
        list(topics),
        now,
        latest_start(now) + LISTENER_SECONDS,
    )
    return [port for (port,) in rows]


class Ringer:
    """Sends datagrams. Safe to call from any thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._closed = False
        self._lock = threading.RLock()

    def ring(self, ports: Iterable[int]) -> None:
        """Send each port a datagram, unless closed meanwhile; one that nobody reads any more does not matter."""
        for port in ports:
            with self._lock, contextlib.suppress(OSError):
                if self._closed:
                    return
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    self._socket.setblocking(False)
                self._socket.sendto(b"", (_LOOPBACK, port))

    def close(self) -> None:
        """Close the socket, for good."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                self._socket.close()
                self._socket = None


class Doorbell:
    """One port that can be rung, registered for topics, and waited at by one thread at a time."""

    def __init__(self, database: Database, clock: Clock, poll_seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._poll_seconds = max(poll_seconds, 0.001)
        # A clock of a test moves without telling a socket.
        self._slice = self._poll_seconds if type(clock) is Clock else _REAL_SLICE_SECONDS
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        self._port = 0
        self._until: dict[int, float] = {}
        self._ringer = Ringer()
        self._waiting = False
        self._closed = False

    def listen(self, topics: Collection[int], timeout: float) -> bool:
        """Be rung for these topics; return whether that had to be written, so that one must look once more."""
        now = self._clock.monotonic()
        if all(LISTENER_SECONDS >= self._until.get(topic, 0.0) - now > LISTENER_SECONDS / 3 for topic in topics):
            return False
        port = self._bound()
        expires = now + LISTENER_SECONDS
        with self._database.write("listen", timeout, durable=False) as transaction:
            transaction.execute(
                "DELETE FROM listener WHERE expires <= ? OR expires > ?", (now, latest_start(now) + LISTENER_SECONDS)
            )
            values = [value for topic in topics for value in (topic, port, expires)]
            insert(
                transaction.connection, "INSERT OR REPLACE INTO listener (topic, port, expires) VALUES ??", 3, values
            )
        self._until.update(dict.fromkeys(topics, expires))
        return True

    def wait(self, seconds: float) -> None:
        """Return when rung, or after `seconds`, or early. One thread at a time."""
        self._bound()
        with self._lock:
            if self._socket is None or self._closed:
                return
            bell, self._waiting = self._socket, True
        try:
            end = self._clock.monotonic() + min(seconds, self._poll_seconds)
            while (left := end - self._clock.monotonic()) > 0:
                if _readable(bell, min(left, self._slice)):
                    _drain(bell)
                    return
        finally:
            with self._lock:
                self._waiting = False
                self._close_if_over()

    def ring(self) -> None:
        """Wake who waits here, or who waits next."""
        port = self._bound()
        if port:
            self._ringer.ring((port,))

    def close(self) -> None:
        """Wake who waits and close the port; its entries lapse by themselves."""
        with self._lock:
            self._closed = True
            self._ringer.ring((self._port,) if self._port else ())
            self._close_if_over()
        self._ringer.close()

    def _close_if_over(self) -> None:
        """Close the socket, but under nobody who waits at it: its number may be another file's the next moment."""
        if self._closed and not self._waiting and self._socket is not None:
            self._socket.close()
            self._socket = None

    def _bound(self) -> int:
        with self._lock:
            if self._closed:
                return 0
            if self._socket is None:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.bind((_LOOPBACK, 0))
                self._socket.setblocking(False)
                self._port = self._socket.getsockname()[1]
            return self._port


class Doorbells:
    """A doorbell for each thread that waits at the same time; usually there is one."""

    def __init__(self, make: Callable[[], Doorbell]) -> None:
        self._make = make
        self._lock = threading.RLock()
        self._all: list[Doorbell] = []
        self._idle: list[Doorbell] = []
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Doorbell]:
        """Lend a doorbell that nobody else waits at."""
        with self._lock:
            if self._idle:
                bell = self._idle.pop()
            else:
                bell = self._make()
                self._all.append(bell)
        try:
            yield bell
        finally:
            with self._lock:
                late = self._closed  # and so perhaps made after the others were closed
                if not late:
                    self._idle.append(bell)
            if late:
                bell.close()

    def ring(self) -> None:
        """Wake everyone who waits."""
        for bell in list(self._all):
            bell.ring()

    def close(self) -> None:
        """Wake everyone who waits, and close; what is borrowed meanwhile is closed when it comes back."""
        with self._lock:
            self._closed = True
        for bell in list(self._all):
            bell.close()


def _readable(bell: socket.socket, seconds: float) -> bool:
    # select() cannot watch descriptors above 1023; poll() is not on Windows, whose select() can.
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(bell, select.POLLIN)
        return bool(poll.poll(max(1, int(seconds * 1000))))
    return bool(select.select([bell], [], [], seconds)[0])


def _drain(bell: socket.socket) -> None:
    """Take every datagram that has come: they all say the same."""
    with contextlib.suppress(BlockingIOError):
        while True:
            bell.recv(1)
