"""The socket of a connection: read by one thread at a time, written by any, and never waited for without a deadline."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from celeriac_amqp.failures import DeadlineExceeded, LinkLost

__all__ = ["Wire"]

_READ_BYTES: Final = 1 << 18
_AGAIN: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_STALLED_SECONDS: Final = 0.05
"""How often a writer that the peer does not read from reads itself, in case that nobody else does: the peer may wait
for that."""


class Wire:
    """A connected socket.

    1. It never blocks: who waits does so in a selector, to which `nudge` from another thread is an event too.
    2. A write goes out whole or the connection is lost, since the peer could not tell where the next frame begins.
    3. `post` never waits: what cannot go out now is sent by whoever writes next. For answers given while reading, and
       heartbeats. `postpone` does not even try: for what nobody waits for, while somebody waits for this thread.
    4. TLS keeps one state for both directions, so its reads and writes take turns; none of them waits inside.
    """

    def __init__(
        self, sock: socket.socket, stalled: Callable[[], object], failed: Callable[[LinkLost], object]
    ) -> None:
        sock.settimeout(0)
        self._socket = sock
        self._stalled = stalled
        self._failed = failed
        self._turn = threading.Lock() if isinstance(sock, ssl.SSLSocket) else None
        self._writing = threading.Lock()
        self._posted: deque[bytes] = deque()
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._selector.register(self._inside, selectors.EVENT_READ)
        self._pid = os.getpid()
        self.sent_at: float = monotonic()
        self.received_at: float = monotonic()

    def read(self) -> bytes | None:
        """Return what has arrived; None: nothing. Raises: LinkLost."""
        try:
            if self._turn is None:
                data = self._socket.recv(_READ_BYTES)
            else:
                with self._turn:
                    data = self._socket.recv(_READ_BYTES)
        except _AGAIN:
            return None
        except (OSError, ValueError) as error:
            raise LinkLost(f"the connection broke: {error}", reason=str(error)) from error
        if not data:
            raise LinkLost("the server closed the connection without a word")
        self.received_at = monotonic()
        return data

    def wait(self, seconds: float) -> None:
        """Return when something arrives, when nudged, or after some time. Raises: LinkLost: the wire was closed."""
        if self._posted:
            self.flush()
        try:
            ready = self._selector.select(seconds)
            for key, _ in ready:
                if key.fileobj is self._inside:
                    while len(self._inside.recv(512)) == 512:
                        pass
        except BlockingIOError:
            return
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise LinkLost("the connection was closed") from error

    def nudge(self) -> None:
        """End the `wait` that is under way, or the next one; from any thread."""
        with contextlib.suppress(OSError):
            self._outside.send(b".")

    def write(self, data: bytes, end: float) -> None:
        """Send everything before the moment `end`.

        Raises: LinkLost: it went out in part, or broke. DeadlineExceeded: nothing of it was sent.
        """
        if not self._writing.acquire(timeout=max(end - monotonic(), 0.0)):
            raise DeadlineExceeded("others were writing to RabbitMQ all the time; nothing was sent", sent=False)
        try:
            if not (self._drain_posted(end) and self._send(data, end)):
                raise DeadlineExceeded("RabbitMQ takes no data; nothing was sent", sent=False)
        except LinkLost as lost:
            self._failed(lost)
            raise
        finally:
            self._writing.release()
        if self._posted:
            self.flush()

    def post(self, data: bytes) -> None:
        """Send soon, without waiting and without an error."""
        self._posted.append(data)
        self.flush()

    def postpone(self, data: bytes) -> None:
        """Send with what is sent next, or before this side waits, or when `flush` is called."""
        self._posted.append(data)

    def flush(self) -> None:
        """Send what was postponed and what could not go out before, without waiting and without an error."""
        # Again after each release: who posted in between found the lock taken, and relies on this.
        while self._posted and self._writing.acquire(blocking=False):
            try:
                if not self._drain_posted(0.0):
                    return
            except LinkLost as lost:
                self._failed(lost)
                return
            finally:
                self._writing.release()

    def _drain_posted(self, end: float) -> bool:
        while self._posted:
            data = self._posted[0]
            sent = self._some(data)
            while sent < len(data):
                data = data[sent:]
                self._posted[0] = data
                if not self._writable(end):
                    return False
                sent = self._some(data)
            self._posted.popleft()
        return True

    def _send(self, data: bytes, end: float) -> bool:
        """Send all; return False when nothing of it was sent in time."""
        done, size = self._some(data), len(data)
        if done == size:
            return True
        view = memoryview(data)
        while done < size:
            if not self._writable(end):
                # Nor is it known how much of what TLS has taken has left.
                if not done and self._turn is None:
                    return False
                raise LinkLost("RabbitMQ takes no more data in the middle of a message, so the connection is given up")
            done += self._some(view[done:])
        return True

    def _some(self, data: bytes | memoryview) -> int:
        try:
            if self._turn is None:
                sent = self._socket.send(data)
            else:
                with self._turn:
                    sent = self._socket.send(data)
        except _AGAIN:
            return 0
        except (OSError, ValueError) as error:
            raise LinkLost(f"the connection broke: {error}", reason=str(error)) from error
        self.sent_at = monotonic()
        return sent

    def _writable(self, end: float) -> bool:
        """Wait until the peer reads; at most until the moment `end`, and then return False."""
        left = end - monotonic()
        if left <= 0:
            return False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_WRITE)
                ready = selector.select(min(left, _STALLED_SECONDS))
        except (OSError, ValueError) as error:
            raise LinkLost("the connection was closed") from error
        if not ready:
            self._stalled()
        return True

    def hang_up(self) -> None:
        """Make whoever reads or writes fail at once; in a forked process leave the other end alone."""
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self.nudge()

    def close(self) -> None:
        """Give everything back; nobody may be waiting."""
        self.hang_up()
        for each in (self._socket, self._selector, self._inside, self._outside):
            with contextlib.suppress(OSError):
                each.close()
