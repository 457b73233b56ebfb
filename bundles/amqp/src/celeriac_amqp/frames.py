"""Messages as they are sent and as they arrive, and the frames that carry them.

Source: AMQP 0-9-1, sections 4.2.3 to 4.2.6 (frames), and its class `basic`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from celeriac_amqp.tables import BadTable, Reader, encode

__all__ = [
    "ACK",
    "CANCEL",
    "CANCELLED",
    "CLOSE",
    "CLOSED",
    "CONSUME",
    "DELIVER",
    "HEARTBEAT",
    "NACK",
    "PIECE_BYTES",
    "QOS",
    "RETURN",
    "Composer",
    "Incoming",
    "Outgoing",
    "Properties",
    "acks",
    "method",
    "properties_of",
    "short",
]  # fmt: skip

# The method's class and number, as the four bytes that they are written as.
CLOSE: Final = 20 << 16 | 40
CLOSED: Final = 20 << 16 | 41
QOS: Final = 60 << 16 | 10
CONSUME: Final = 60 << 16 | 20
CANCEL: Final = 60 << 16 | 30
CANCELLED: Final = 60 << 16 | 31
RETURN: Final = 60 << 16 | 50
DELIVER: Final = 60 << 16 | 60
ACK: Final = 60 << 16 | 80
NACK: Final = 60 << 16 | 120
HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"
_PUBLISH: Final = 60 << 16 | 40
_OVERHEAD: Final = 8
"""Bytes of a frame beside what it carries."""
_REMEMBERED: Final = 512
PIECE_BYTES: Final = 1 << 20
"""Sent in one piece. Between two of them confirms are read, so that they do not pile up on the way."""

_method = struct.Struct(">BHII").pack
_head = struct.Struct(">BHIHHQH").pack
_body = struct.Struct(">BHI").pack
_ack = struct.Struct(">BHIIQBB").pack
_flags = struct.Struct(">H").unpack_from
_long = struct.Struct(">I").unpack_from
_longlong = struct.Struct(">Q").unpack_from


class Properties(Struct, frozen=True, kw_only=True, gc=False):
    """The basic properties but for the headers; None is absent. `timestamp` is in whole seconds since 1970."""

    content_type: str | None = None
    content_encoding: str | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


class Outgoing(Struct, frozen=True, kw_only=True):
    """A message to be published."""

    exchange: str
    routing_key: str
    properties: Properties
    headers: dict[str, Any]
    body: bytes


class Incoming(Struct, gc=False, kw_only=True):
    """A message that was delivered. `tag` is its delivery tag, valid for the consumer that gave it.

    `malformed` says why the headers or properties could not be read; both are empty then, and the body is whole.
    """

    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    properties: Properties
    headers: dict[str, Any]
    body: bytes
    tag: int
    malformed: str | None = None


def method(channel: int, number: int, arguments: bytes = b"") -> bytes:
    """Return the frame of a method without content."""
    return _method(1, channel, len(arguments) + 4, number) + arguments + b"\xce"


def acks(channel: int, upto: int, single: list[int]) -> bytes:
    """Return the frames that acknowledge all tags up to one of them (0: none), and some after it one by one."""
    frames = [_ack(1, channel, 13, ACK, upto, 1, 0xCE)] if upto else []
    frames += [_ack(1, channel, 13, ACK, tag, 0, 0xCE) for tag in single]
    return b"".join(frames)


def short(value: str) -> bytes:
    """Return a string of at most 255 bytes as AMQP writes it. Raises: BadTable: it is longer."""
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) > 255:
        raise BadTable(f"{value[:40]!r}... is longer than the 255 bytes that AMQP has for names and properties")
    return bytes((len(raw),)) + raw


# In the order in which they are written; the headers' flag and place are between the second and the third.
_SHORT_FLAGS: Final = (
    ("correlation_id", 0x0400), ("reply_to", 0x0200), ("expiration", 0x0100), ("message_id", 0x0080),
    ("timestamp", 0x0040), ("type", 0x0020), ("user_id", 0x0010), ("app_id", 0x0008), ("cluster_id", 0x0004),
)  # fmt: skip
_OTHER_FLAGS: Final = _SHORT_FLAGS[2:]
_NO_OTHERS: Final = (None,) * len(_OTHER_FLAGS)
_others = attrgetter(*(name for name, _ in _OTHER_FLAGS))


class Composer:
    """Writes messages for one channel. What repeats from message to message is written once and remembered."""

    __slots__ = ("_channel", "_kinds", "_most", "_publish", "_shorts")

    def __init__(self, channel: int, frame_max: int) -> None:
        self._channel = channel
        self._most = frame_max - _OVERHEAD if frame_max else 1 << 31
        self._publish: dict[tuple[str, str, bool], bytes] = {}
        self._shorts: dict[str, bytes] = {}
        self._kinds: dict[tuple[str | None, str | None, int | None, int | None], tuple[int, bytes, bytes]] = {}

    def compose_all(self, messages: Sequence[Outgoing], mandatory: bool) -> list[bytes]:
        """Return the frames of all messages in pieces of about `PIECE_BYTES`, each of which ends with a message.

        Raises: BadTable: one of them cannot be sent as it is; it says why.
        """
        pieces: list[bytes] = []
        frames: list[bytes] = []
        size = 0
        for message in messages:
            frame = self.compose(message, mandatory)
            frames.append(frame)
            size += len(frame)
            if size >= PIECE_BYTES:
                pieces.append(b"".join(frames))
                frames.clear()
                size = 0
        if frames:
            pieces.append(b"".join(frames))
        return pieces

    def compose(self, message: Outgoing, mandatory: bool) -> bytes:
        """Return the frames of a message. Raises: BadTable: it cannot be sent as it is; it says why."""
        route = (message.exchange, message.routing_key, mandatory)
        publish = self._publish.get(route) or self._new_publish(route)
        flags, before, after = self._properties(message.properties)
        if message.headers:
            flags |= 0x2000
            before += encode(message.headers)
        content, body, channel = before + after, message.body, self._channel
        size = len(content) + 14
        if size > self._most:
            raise BadTable(
                f"the headers and properties take {size} bytes, more than the {self._most} that the server takes; "
                "send less in headers, or raise `frame_max` of the server"
            )
        head = _head(2, channel, size, 60, 0, len(body), flags)
        if not body:
            return b"".join((publish, head, content, b"\xce"))
        if len(body) <= self._most:
            return b"".join((publish, head, content, b"\xce", _body(3, channel, len(body)), body, b"\xce"))
        frames = [publish, head, content, b"\xce"]
        for at in range(0, len(body), self._most):
            part = body[at : at + self._most]
            frames += (_body(3, channel, len(part)), part, b"\xce")
        return b"".join(frames)

    def _new_publish(self, route: tuple[str, str, bool]) -> bytes:
        exchange, key, mandatory = route
        arguments = b"\0\0" + short(exchange) + short(key) + (b"\x01" if mandatory else b"\0")
        if len(self._publish) >= _REMEMBERED:
            self._publish.clear()
        frame = self._publish[route] = method(self._channel, _PUBLISH, arguments)
        return frame

    def _properties(self, given: Properties) -> tuple[int, bytes, bytes]:
        """Return the flags, and what is written before and after the headers."""
        # Those that tasks have, most of which are the same from message to message, one by one; the others only if
        # there is one.
        kind = (given.content_type, given.content_encoding, given.delivery_mode, given.priority)
        flags, before, after = self._kinds.get(kind) or self._new_kind(kind)
        if given.correlation_id is not None:
            flags |= 0x0400
            after += short(given.correlation_id)
        if given.reply_to is not None:
            flags |= 0x0200
            after += self._short(given.reply_to)
        others = _others(given)
        if others != _NO_OTHERS:
            for (name, flag), value in zip(_OTHER_FLAGS, others, strict=True):
                if value is not None:
                    flags |= flag
                    after += value.to_bytes(8, "big") if name == "timestamp" else short(value)
        return flags, before, after

    def _new_kind(self, kind: tuple[str | None, str | None, int | None, int | None]) -> tuple[int, bytes, bytes]:
        flags, before, after = 0, b"", b""
        for value, flag in zip(kind[:2], (0x8000, 0x4000), strict=True):
            if value is not None:
                flags |= flag
                before += short(value)
        for number, flag in zip(kind[2:], (0x1000, 0x0800), strict=True):
            if number is not None:
                flags |= flag
                after += bytes((number,))
        if len(self._kinds) >= _REMEMBERED:
            self._kinds.clear()
        found = self._kinds[kind] = (flags, before, after)
        return found

    def _short(self, value: str) -> bytes:
        known = self._shorts.get(value)
        if known is None:
            if len(self._shorts) >= _REMEMBERED:
                self._shorts.clear()
            known = self._shorts[value] = short(value)
        return known


_FIELDS: Final = (
    ("content_type", 0x8000), ("content_encoding", 0x4000), ("headers", 0x2000), ("delivery_mode", 0x1000),
    ("priority", 0x0800), *_SHORT_FLAGS,
)  # fmt: skip


_PLANS: Final[dict[int, list[tuple[str, int]]]] = {}
_TABLE, _OCTET, _MOMENT, _STRING = range(4)
_FORMS: Final = {"headers": _TABLE, "delivery_mode": _OCTET, "priority": _OCTET, "timestamp": _MOMENT}


def _plan(flags: int) -> list[tuple[str, int]]:
    plan = _PLANS[flags] = [(name, _FORMS.get(name, _STRING)) for name, flag in _FIELDS if flags & flag]
    return plan


def properties_of(head: bytes, reader: Reader) -> tuple[Properties, dict[str, Any]]:
    """Return the properties and headers in what a header frame carries. Raises: BadTable."""
    at = 14
    values: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    try:
        flags = _flags(head, 12)[0]
        for name, form in _PLANS.get(flags) or _plan(flags):
            if form == _STRING:
                end = at + 1 + head[at]
                values[name] = head[at + 1 : end].decode("utf-8", "backslashreplace")
                at = end
            elif form == _TABLE:
                end = at + 4 + _long(head, at)[0]
                headers = reader.read(head, at + 4, end)
                at = end
            elif form == _OCTET:
                values[name] = head[at]
                at += 1
            else:
                values[name] = _longlong(head, at)[0]
                at += 8
    except (IndexError, struct.error):
        raise BadTable("the properties end in the middle of one") from None
    if at != len(head):
        raise BadTable("the properties do not end where their frame does")
    return Properties(**values), headers
