"""Announcements of results: one connection per process, however many results are awaited.

1. Who watches sends SUBSCRIBE for the channels of its ids and waits until the server has confirmed it: what is stored
   after that is announced.
2. One thread at a time reads: the one in `changed`, or else a watcher until its confirmation is there. The others wait
   for what it reads.
3. Announcements of ready records are kept until `changed` hands them out.
4. A broken connection is an error, and the end of this object's use; the caller opens another store and asks it for
   everything that is awaited.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable, Collection, Iterator
from time import monotonic
from typing import Any, Final

from celeriac.errors import DeadlineExceeded
from celeriac.model.record import ResultRecord
from celeriac_redis.link import Link, LinkLost
from celeriac_redis.records import record_of
from celeriac_redis.replies import NoReply
from celeriac_redis.wire import Wire, pack

__all__ = ["Subscription"]

_CHUNK: Final = 1000
"""Channels in one command: bounds what either side has to buffer."""


class Subscription:
    """The awaited ids of one result store; `prefix` is what their keys and channels begin with."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._state = threading.Condition()
        self._using = threading.Lock()
        """Held for each use of the wire: TLS does not allow reading and writing at the same time."""
        self._wire: Wire | None = None
        self._selector: selectors.BaseSelector | None = None
        self._reading = False
        self._lost = False
        self._watched: set[str] = set()
        self._ready: dict[str, ResultRecord] = {}
        self._asked = 0
        self._confirmed = 0

    def watch(self, ids: Collection[str], timeout: float) -> None:
        """Announce these ids from now on."""
        end = monotonic() + timeout
        if self._pid != os.getpid():
            self._start()
        with self._state:
            new = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._watched]
            self._watched.update(new)
            if new:
                self._send(b"SUBSCRIBE", new, end)
                self._asked += len(new)
            target = self._asked
            self._state.notify_all()
        if not self._read_until(lambda: self._confirmed >= target, end):
            raise DeadlineExceeded(f"{self._link.label} at subscribing", timeout)

    def unwatch(self, ids: Collection[str], timeout: float) -> None:
        """Stop announcing these ids."""
        if self._pid != os.getpid():
            self._start()
        with self._state:
            old = [id_ for id_ in dict.fromkeys(ids) if id_ in self._watched]
            self._watched.difference_update(old)
            for id_ in old:
                self._ready.pop(id_, None)
            if old and self._wire is not None:
                self._send(b"UNSUBSCRIBE", old, monotonic() + timeout)

    def changed(self, timeout: float) -> dict[str, ResultRecord]:
        """Return what has become ready, waiting at most `timeout` seconds for the first; nothing once closed."""
        if self._pid != os.getpid():
            self._start()
        try:
            self._read_until(lambda: bool(self._ready) or self._closed, monotonic() + timeout)
        except LinkLost:
            if not self._closed:
                raise
        with self._state:
            found, self._ready = self._ready, {}
            return found

    def close(self) -> None:
        """End every wait."""
        if self._pid != os.getpid():
            self._start()
        with self._state:
            self._closed = True
            if self._wire is not None:
                self._wire.hang_up()
            if not self._reading:
                self._drop()
            self._state.notify_all()

    # -- the connection ----------------------------------------------------------------------------------

    def _send(self, command: bytes, ids: list[str], end: float) -> None:
        """Send a command for these ids; the state is locked."""
        wire = self._connected(end)
        try:
            with self._using:
                for chunk in _chunks(ids):
                    channels = [self._prefix + id_ for id_ in chunk]
                    wire.send(pack((command, *channels)), max(end - monotonic(), 0.001))
        except BaseException:
            wire.hang_up()
            raise

    def _connected(self, end: float) -> Wire:
        self._check()
        if self._wire is None:
            self._wire = self._link.connection(timeout=end - monotonic())
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._wire.fileno(), selectors.EVENT_READ)
        return self._wire

    def _check(self) -> None:
        if self._closed or self._lost:
            raise LinkLost("this connection is closed" if self._closed else "the subscription broke")

    def _drop(self) -> None:
        """Give the connection back; the state is locked and nobody reads."""
        wire, self._wire = self._wire, None
        selector, self._selector = self._selector, None
        if selector is not None:
            selector.close()
        if wire is not None:
            wire.close()

    def _read_until(self, done: Callable[[], bool], end: float) -> bool:
        """Read, or let another thread read, until `done`; return False if that was not before `end`."""
        while True:
            with self._state:
                if done():
                    return True
                self._check()
                left = end - monotonic()
                if left <= 0:
                    return False
                if self._reading or self._wire is None:
                    self._state.wait(left)
                    continue
                self._reading = True
            self._read_once(left)

    def _read_once(self, timeout: float) -> None:
        messages: list[Any] = []
        broken = True
        try:
            self._receive(messages, timeout)
            broken = False
        finally:
            with self._state:
                self._reading = False
                for message in messages:
                    self._take(message)
                if broken or self._closed:
                    self._drop()
                self._lost = self._lost or broken
                self._state.notify_all()

    def _receive(self, messages: list[Any], timeout: float) -> None:
        """Add what arrives to `messages`, waiting at most `timeout` seconds for the first."""
        wire, selector = self._wire, self._selector
        if wire is None or selector is None:
            raise LinkLost("this connection is closed")
        if not self._read_all(wire, messages):
            selector.select(timeout)
            self._read_all(wire, messages)

    def _read_all(self, wire: Wire, messages: list[Any]) -> bool:
        with self._using:
            try:
                while len(messages) < _CHUNK:
                    messages.append(wire.read(0))
            except NoReply:
                pass
        return bool(messages)

    def _take(self, message: Any) -> None:
        if not isinstance(message, list) or len(message) != 3:
            return
        kind, channel, payload = message
        if kind == b"subscribe":
            self._confirmed += 1
        elif kind == b"message":
            id_ = channel.decode()[len(self._prefix) :]
            if id_ in self._watched:
                record = record_of(id_, payload)
                if record is not None and record.ready:
                    self._ready[id_] = record


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
