"""From bytes to frames, and from frames to whole messages."""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple, TypeAlias

from celeriac_amqp.frames import DELIVER, RETURN

__all__ = ["Event", "Garbled", "Parser"]

Event: TypeAlias = tuple[int, int, bytes, bytes, bytes]
"""Channel, method, the method's arguments; the header frame and the body of a message, or nothing twice.

Of channels that are not ours: channel, and minus the frame's type in the place of the method, and what it carries.
"""

_CONTENT: Final = frozenset({DELIVER, RETURN})
_KINDS: Final = frozenset({1, 2, 3, 8})
_frame = struct.Struct(">BHI").unpack_from
_method = struct.Struct(">I").unpack_from
_head = struct.Struct(">BHIHHQ").unpack_from


class Garbled(Exception):
    """What arrived is not AMQP 0-9-1, so that nothing after it can be understood."""


class _Partial(NamedTuple):
    """A message of which more frames are to come."""

    method: int
    arguments: bytes
    head: bytes
    left: int
    parts: list[bytes]


class Parser:
    """Takes bytes in any cuts, and gives whole messages of the channels in `ours`, and single frames of the others.

    The three frames of a small message nearly always arrive one after the other, and are then read as one. A frame that
    comes in many reads is put together once.
    """

    __slots__ = ("_chunks", "_held", "_needed", "frame_max", "ours", "unfinished")

    def __init__(self) -> None:
        self.ours: set[int] = set()
        self.frame_max: int = 1 << 20
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = 0
        self.unfinished: dict[int, _Partial] = {}
        """Messages of which more frames are to come, by channel."""

    def feed(self, data: bytes) -> list[Event]:
        """Return what is complete with these bytes. Raises: Garbled."""
        if self._held:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        events: list[Event] = []
        at = self._parse(data, events)
        self._held = len(data) - at
        if self._held:
            self._chunks.append(data[at:])
        return events

    def _parse(self, data: bytes, events: list[Event]) -> int:  # noqa: C901, PLR0912  the hot loop: calls cost more
        at, size_of_all, ours = 0, len(data), self.ours
        while True:
            if size_of_all - at < 8:
                self._needed = 8
                if at < size_of_all and data[at] not in _KINDS:
                    raise _garbled(data, at)
                return at
            kind, channel, size = _frame(data, at)
            end = at + size + 8
            if end > size_of_all:
                if kind not in _KINDS or size > self.frame_max:
                    raise _garbled(data, at)
                self._needed = size + 8
                return at
            if data[end - 1] != 0xCE:
                raise _garbled(data, at)
            if channel not in ours:
                if kind not in _KINDS:
                    raise _garbled(data, at)
                if kind != 8:
                    events.append((channel, -kind, data[at + 7 : end - 1], b"", b""))
            elif kind == 1:
                if size < 4:
                    raise _garbled(data, at)
                number = _method(data, at + 7)[0]
                if number not in _CONTENT:
                    events.append((channel, number, data[at + 11 : end - 1], b"", b""))
                elif channel in self.unfinished:
                    raise Garbled("a message began before the one before had ended")
                else:
                    arguments = data[at + 11 : end - 1]
                    if size_of_all - end >= 30:
                        also, same, more, _, _, length = _head(data, end)
                        body = end + more + 8
                        after = body + length + 8 if length else body
                        if (
                            also == 2
                            and same == channel
                            and more >= 14
                            and after <= size_of_all
                            and data[body - 1] == 0xCE
                            and (not length or _frame(data, body) == (3, channel, length))
                            and data[after - 1] == 0xCE
                        ):
                            content = data[body + 7 : after - 1] if length else b""
                            events.append((channel, number, arguments, data[end + 7 : body - 1], content))
                            at = after
                            continue
                    self.unfinished[channel] = _Partial(number, arguments, b"", -1, [])
            elif kind != 8:
                self._more(kind, channel, data[at + 7 : end - 1], events)
            at = end

    def _more(self, kind: int, channel: int, payload: bytes, events: list[Event]) -> None:
        """Add a header or body frame to the message that it belongs to."""
        partial = self.unfinished.pop(channel, None)
        if partial is None and kind == 3 and not payload:
            return  # after the header of an empty body nothing need come, but may
        if partial is None or kind != (2 if partial.left < 0 else 3) or (kind == 2 and len(payload) < 14):
            raise Garbled(f"a frame of type {kind} came that belongs to no message")
        if kind == 2:
            partial = partial._replace(head=payload, left=int.from_bytes(payload[4:12], "big"))
        else:
            partial.parts.append(payload)
            partial = partial._replace(left=partial.left - len(payload))
        if partial.left < 0:
            raise Garbled("the body of a message is longer than its header says")
        if partial.left:
            self.unfinished[channel] = partial
        else:
            events.append((channel, partial.method, partial.arguments, partial.head, b"".join(partial.parts)))

    def forget(self, channel: int) -> None:
        """Stop collecting for a channel that was closed."""
        self.ours.discard(channel)
        self.unfinished.pop(channel, None)


def _garbled(data: bytes, at: int) -> Garbled:
    start: Any = data[at : at + 24]
    if start[:4] == b"AMQP":
        return Garbled("the server speaks another version of AMQP; Celeriac needs 0-9-1")
    if start[:5] == b"HTTP/":
        return Garbled("an HTTP server answered; is this the port of the management pages?")
    return Garbled(f"what the server sent is not AMQP 0-9-1; it begins with {start!r}")
