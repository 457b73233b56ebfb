"""Waiting for messages without asking for them, whoever publishes them.

1. An idle worker takes over a connection on which the server tracks what it read (CLIENT TRACKING): the scripts read
   the lists last, so the server says at once when one of them changes, also by a producer that knows nothing of us.
2. That is a hint, and carries nothing: whoever hears it takes, as always. One connection serves any number of queues.
3. Every idle worker hears every message. Who comes too late, again and again, waits a random moment first, which
   grows: so a large fleet at rest asks the server only so often, and the first one still comes at once.
4. A server that does not track is asked every `POLL_SECONDS`.

Why not a blocking list command: docs/explanation/decisions/redis-wake-up.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Final

import hiredis

from celeriac_redis.link import Link, LinkLost, Script
from celeriac_redis.replies import NoReply, code_of, reply_error
from celeriac_redis.wire import Argument, Wire, pack

__all__ = ["Bell", "Bells"]

logger: logging.Logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.05
"""How often a server that cannot tell is asked."""
_SHY_SECONDS: Final = 0.0002
"""By how much the longest pause of a worker grows each time that it came too late."""
_MOST_SHY_SECONDS: Final = 0.1


class Bell:
    """The connections of one receiving thread: one, or in a cluster one for each group of queues."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._wires: dict[bytes, Wire] = {}
        self._selector = selectors.DefaultSelector()
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._selector.register(self._inside, selectors.EVENT_READ)
        self._tracked = True
        self._rung = False
        self._in_vain = 0

    def ask(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument], timeout: float) -> Any:
        """Run a script over the tracked connection, in a cluster over that of its first key; return its reply."""
        end = monotonic() + timeout
        wire = self._wire(keys[0], timeout)
        reply = _call(wire, pack((b"EVALSHA", script.sha, len(keys), *keys, *args)), end)
        if reply.__class__ is hiredis.ReplyError and code_of(reply) == "NOSCRIPT":
            reply = _call(wire, pack((b"EVAL", script.source, len(keys), *keys, *args)), end)
        if reply.__class__ is hiredis.ReplyError:
            raise reply_error(reply, script.name, self._link.label)
        return reply

    def found(self, something: bool) -> None:
        """Learn whether the last take got something, and so whether coming at once is worth it."""
        if something:
            self._in_vain = 0
        elif self._rung:
            self._in_vain += 1
        self._rung = False

    def wait(self, seconds: float) -> None:
        """Return when one of the keys that were read has changed, when rung, or after some time."""
        if not self._tracked:
            seconds = min(seconds, POLL_SECONDS)
        end = monotonic() + seconds
        while not self._rung:
            self._rung = self._heard()
            left = end - monotonic()
            if self._rung or left <= 0:
                break
            for key, _ in self._selector.select(left):
                if key.fileobj is self._inside:
                    self._drain()
                    return
        if self._rung and self._in_vain:
            self._pause(min(self._in_vain * _SHY_SECONDS, _MOST_SHY_SECONDS))

    def ring(self) -> None:
        """End `wait` now, or the next one; from any thread."""
        with contextlib.suppress(OSError):
            self._outside.send(b".")

    def close(self) -> None:
        """Give everything back."""
        self._selector.close()
        for wire in self._wires.values():
            wire.close()
        self._inside.close()
        self._outside.close()

    def _wire(self, key: bytes, timeout: float) -> Wire:
        group = key if self._link.is_cluster else b""
        wire = self._wires.get(group)
        if wire is None:
            wire = self._wires[group] = self._link.connection(key, timeout=timeout)
            self._track(wire, timeout)
            self._selector.register(wire, selectors.EVENT_READ)
        return wire

    def _track(self, wire: Wire, timeout: float) -> None:
        """Ask the server to tell when what is read over this wire changes; by anybody else, not by itself."""
        end = monotonic() + timeout
        for command in ((b"HELLO", b"3"), (b"CLIENT", b"TRACKING", b"ON", b"NOLOOP")):
            reply = _call(wire, pack(command), end)
            if reply.__class__ is hiredis.ReplyError:
                self._tracked = False
                logger.warning(
                    "the server cannot tell when a message comes: it is asked every %g s",
                    POLL_SECONDS,
                    extra={"event": "redis_polling", "error": str(reply)},
                )
                return

    def _pause(self, most: float) -> None:
        end = monotonic() + random.uniform(0.0, most)  # noqa: S311  it only keeps workers apart
        while (left := end - monotonic()) > 0:
            if _readable(self._inside, left):
                self._drain()
                return

    def _heard(self) -> bool:
        """Whether the server has told of a change; everything that it said is read."""
        heard = False
        for wire in self._wires.values():
            with contextlib.suppress(NoReply):
                while True:
                    wire.read(0.0)
                    heard = True
        return heard

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._inside.recv(512):
                pass


def _readable(end: socket.socket, seconds: float) -> bool:
    end.settimeout(seconds)
    try:
        return bool(end.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        end.setblocking(False)


def _call(wire: Wire, packed: bytes, end: float) -> Any:
    """Send one command and return its reply; what the server pushes in between is older than the reply."""
    left = end - monotonic()
    wire.send(packed, max(left, 0.001))
    while True:
        try:
            reply = wire.read(max(end - monotonic(), 0.0))
        except NoReply:
            raise LinkLost("no answer in time; whether the call took effect is not known") from None
        if reply.__class__ is not hiredis.PushNotification:
            return reply


class Bells:
    """One bell for each thread that receives at the same time; `ring` rings all that are in use."""

    def __init__(self, make: Callable[[], Bell]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._idle: list[Bell] = []
        self._used: set[Bell] = set()
        self._closed = False
        self._pid = os.getpid()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Bell]:
        """Give a bell to this thread; one on which something failed is thrown away."""
        with self._lock:
            if self._pid != os.getpid():
                self._idle, self._used, self._pid = [], set(), os.getpid()
            bell = self._idle.pop() if self._idle else None
            if bell is None:
                bell = self._make()
            self._used.add(bell)
        try:
            yield bell
        except BaseException:
            with self._lock:
                self._used.discard(bell)
            bell.close()
            raise
        with self._lock:
            self._used.discard(bell)
            if not self._closed:
                self._idle.append(bell)
                return
        bell.close()

    def ring(self) -> None:
        """Wake every thread that waits."""
        with self._lock:
            for bell in self._used:
                bell.ring()

    def close(self) -> None:
        """Close what nobody uses, and wake who waits."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for bell in self._used:
                bell.ring()
        for bell in idle:
            bell.close()
