"""One socket to a server, and the conversation over it.

redis-py opens the socket, shakes hands over it and authenticates; from then on requests are packed and replies parsed
by hiredis, with no object of redis-py in between.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeAlias, cast

import hiredis
from redis.connection import AbstractConnection

from celeriac_redis.replies import LinkLost, NoReply, NotSent

__all__ = ["Argument", "Wire", "pack"]

Argument: TypeAlias = bytes | str | int | float

_NOTHING: Final = object()
_BUFFER_BYTES: Final = 1 << 18
"""Each time that a thread reads it gives up the interpreter and must get it back from those that run tasks."""
pack: Final[Callable[[tuple[Argument, ...]], bytes]] = cast("Any", hiredis).pack_command
"""Turns a command and its arguments into what is sent; texts as UTF-8."""


class Wire:
    """A conversation that one thread has at a time. Whatever fails in it, it must not be used again.

    `close` gives the socket back; only who converses calls it. `hang_up` makes whoever converses fail at once; anybody
    may call it.
    """

    __slots__ = ("__weakref__", "_buffer", "_connection", "_reader", "_socket", "idle_since", "node", "pid")

    def __init__(self, connection: AbstractConnection, node: tuple[str, int] | None) -> None:
        self._connection = connection
        # Its only name in every version of redis-py from 2 to 8.
        self._socket: socket.socket = cast("Any", connection)._sock
        # Any: its stub knows only of bytes to feed, where every version takes a buffer.
        self._reader: Any = hiredis.Reader(notEnoughData=_NOTHING)
        self._buffer = bytearray(_BUFFER_BYTES)
        self.node: tuple[str, int] | None = node
        self.pid: int = os.getpid()
        self.idle_since: float = monotonic()

    def fileno(self) -> int:
        """Return the descriptor of the socket, to wait on; replies may be here already, so `read` with 0 first."""
        return self._socket.fileno()

    def call(self, packed: bytes, count: int, end: float) -> list[Any]:
        """Send `count` packed commands and return their replies; error replies are items like any other.

        Raises: NotSent: the moment `end` had passed before. LinkLost: it passed, or the connection broke, since.
        """
        left = end - monotonic()
        if left <= 0:
            raise NotSent
        self.send(packed, left)
        gets, replies = self._reader.gets, []
        while True:
            reply = gets()
            if reply is _NOTHING:
                left = end - monotonic()
                if left <= 0 or not self._receive(left):
                    raise LinkLost("no answer in time; whether the call took effect is not known")
                continue
            replies.append(reply)
            if len(replies) == count:
                return replies

    def send(self, packed: bytes, timeout: float) -> None:
        """Send packed commands, all within `timeout` seconds.

        Raises: LinkLost: they may have arrived in part.
        """
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(packed)
        except TimeoutError as error:
            raise LinkLost("the server took no more data in time") from error
        except (OSError, ValueError) as error:
            raise LinkLost(_reason(error)) from error

    def read(self, timeout: float) -> Any:
        """Return the next reply, waiting at most `timeout` seconds for it.

        Raises: NoReply: there is none yet; what has arrived of it is kept. LinkLost: there will be none.
        """
        reply = self._reader.gets()
        if reply is not _NOTHING:
            return reply
        end = monotonic() + timeout
        while self._receive(max(end - monotonic(), 0.0)):
            reply = self._reader.gets()
            if reply is not _NOTHING:
                return reply
        raise NoReply

    def _receive(self, timeout: float) -> bool:
        """Feed what arrives within `timeout` seconds to the reader; return whether something did."""
        try:
            self._socket.settimeout(timeout)
            size = self._socket.recv_into(self._buffer)
            if size:
                self._reader.feed(self._buffer, 0, size)
                return True
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except (OSError, ValueError, hiredis.ProtocolError) as error:
            raise LinkLost(_reason(error)) from error
        raise LinkLost("the server closed the connection")

    def is_silent(self) -> bool:
        """Whether an unused wire is as it should be: open, and nothing to be read from it."""
        if self._reader.has_data():
            return False
        try:
            return not self._receive(0)
        except LinkLost:
            return False

    def hang_up(self) -> None:
        """End the conversation from outside. In a process that inherited the socket, leave the other end alone."""
        if self.pid == os.getpid():
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        self.hang_up()
        with suppress(OSError):
            self._socket.close()


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
