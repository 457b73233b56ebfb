"""A server for tests of connections: it shakes hands, and from then on says what the test tells it to."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
import threading
from types import TracebackType
from typing import Any

from amqp.serialization import dumps

from celeriac_amqp.location import Location

SECONDS = 20.0
START, TUNE, OPEN, OPENED = (10 << 16 | 10), (10 << 16 | 30), (10 << 16 | 40), (10 << 16 | 41)
START_OK, GOODBYE, GOODBYE_OK = (10 << 16 | 11), (10 << 16 | 50), (10 << 16 | 51)
CLOSE, CLOSED, PUBLISH = (20 << 16 | 40), (20 << 16 | 41), (60 << 16 | 40)
ACK, NACK, QOS, CONSUME, CANCEL = (60 << 16 | 80), (60 << 16 | 120), (60 << 16 | 10), (60 << 16 | 20), (60 << 16 | 30)
DECLARE = 50 << 16 | 10


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, number: int, arguments: bytes = b"") -> bytes:
    return frame(1, channel, struct.pack(">I", number) + arguments)


def confirm(channel: int, tag: int, *, multiple: bool = False, taken: bool = True) -> bytes:
    return method(channel, ACK if taken else NACK, struct.pack(">QB", tag, multiple))


def deliver(channel: int, consumer: bytes, tag: int, head: bytes, body: bytes) -> bytes:
    """A message with a header frame that is given from its flags on."""
    arguments = bytes((len(consumer),)) + consumer + struct.pack(">QB", tag, 0) + b"\0\x01q"
    return (
        method(channel, 60 << 16 | 60, arguments)
        + frame(2, channel, struct.pack(">HHQ", 60, 0, len(body)) + head)
        + frame(3, channel, body)
    )


class Peer:
    """One connection. What arrives is in `received` as channel, method and arguments; `answers` are given at once."""

    def __init__(self, *, greeting: bytes | None = None, heartbeat: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.received: queue.Queue[tuple[int, int, bytes]] = queue.Queue()
        self.answers: dict[int, tuple[int, bytes]] = {
            20 << 16 | 10: (20 << 16 | 11, b"\0\0\0\0"),
            85 << 16 | 10: (85 << 16 | 11, b""),
            CLOSE: (CLOSED, b""),
            GOODBYE: (GOODBYE_OK, b""),
            DECLARE: (50 << 16 | 11, b"\x01q" + bytes(8)),
            QOS: (60 << 16 | 11, b""),
            CONSUME: (60 << 16 | 21, b"\x01c"),
            CANCEL: (60 << 16 | 31, b"\x01c"),
        }
        self.reads = threading.Event()
        self.reads.set()
        self.open_answer: bytes | None = None
        self._greeting, self._heartbeat, self._tls = greeting, heartbeat, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def location(self, **changes: Any) -> Location:
        return Location(
            **{"label": "amqp://peer", "nodes": (self._listener.getsockname()[:2],), "heartbeat": 0.0, **changes}
        )

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        self.reads.set()
        self._listener.close()
        self._thread.join(SECONDS)

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.sendall(data)

    def expect(self, number: int, times: int = 1) -> tuple[int, bytes]:
        """Wait until a method has come so often; return the channel and arguments of the last."""
        while True:
            channel, got, arguments = self.received.get(timeout=SECONDS)
            times -= got == number
            if not times:
                return channel, arguments

    def hang_up(self) -> None:
        for each in (self._socket, self._listener):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._socket = self._listener.accept()[0]
            if self._tls is not None:
                self._socket = self._tls.wrap_socket(self._socket, server_side=True)
            self._exact(8)
            if self._greeting is not None:
                self.send(self._greeting)
            else:
                capabilities = {"connection.blocked": True, "authentication_failure_close": True}
                arguments = ("ooFSS", [0, 9, {"capabilities": capabilities}, "PLAIN", "en_US"])
                self.send(method(0, START, dumps(*arguments)))
            while True:
                self._one()

    def _one(self) -> None:
        self.reads.wait()
        kind, channel, size = struct.unpack(">BHI", self._exact(7))
        payload = self._exact(size + 1)[:-1]
        if kind != 1:
            return
        number = struct.unpack_from(">I", payload)[0]
        if number == START_OK:
            self.send(method(0, TUNE, struct.pack(">HIH", 2047, 131072, self._heartbeat)))
        elif number == OPEN:
            self.send(self.open_answer or method(0, OPENED, b"\0"))
        elif number in self.answers:
            answer, arguments = self.answers[number]
            self.send(method(channel, answer, arguments))
        self.received.put((channel, number, payload[4:]))

    def _exact(self, size: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < size:
            self.reads.wait()
            some = self._socket.recv(size - len(data))
            if not some:
                raise EOFError
            data += some
        return data
