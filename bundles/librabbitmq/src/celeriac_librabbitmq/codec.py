"""The codec of which the common part is done in C, and the rest by the codec in Python.

1. the C in `native/` tells frames apart, reads and writes them in batches, and has rabbitmq-c read and write properties
   and headers.
2. It does what it is sure of. Whatever else there may be (content in several frames, moments and decimals in headers,
   tables nested deeply or broken, what cannot be sent) it hands to the codec in Python, whose answers and errors those
   are. So both codecs agree on everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from celeriac_amqp import codec, frames, parser
from celeriac_amqp.codec import PIECE_BYTES, Codec, DeliveryReader
from celeriac_amqp.frames import Incoming, Outgoing, Properties
from celeriac_amqp.parser import Event
from celeriac_librabbitmq.library import open_codec

__all__ = ["NATIVE"]

_native: Final = open_codec()
_OVERHEAD: Final = 8


class _Parser:
    """As `celeriac_amqp.parser.Parser`, which gets single frames that need a closer look."""

    __slots__ = ("_chunks", "_held", "_needed", "_plain", "ours")

    def __init__(self) -> None:
        self._plain = parser.Parser()
        self.ours: set[int] = self._plain.ours
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = 0

    @property
    def frame_max(self) -> int:
        return self._plain.frame_max

    @frame_max.setter
    def frame_max(self, value: int) -> None:
        self._plain.frame_max = value

    def feed(self, data: bytes) -> list[Event]:
        if self._held:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        events: list[Event] = []
        plain = self._plain
        at = 0
        while True:
            at, odd, self._needed = _native.parse(data, at, self.ours, plain.unfinished, plain.frame_max, events)
            if not odd:
                break
            events += plain.feed(data[at:odd])
            at = odd
        self._held = len(data) - at
        if self._held:
            self._chunks.append(data[at:])
        return events

    def forget(self, channel: int) -> None:
        self._plain.forget(channel)


class _Composer:
    """As `celeriac_amqp.frames.Composer`, for many messages at once."""

    __slots__ = ("_channel", "_most", "_plain")

    def __init__(self, channel: int, frame_max: int) -> None:
        self._plain = frames.Composer(channel, frame_max).compose
        self._channel = channel
        self._most = frame_max - _OVERHEAD if frame_max else 1 << 31

    def compose_all(self, messages: Sequence[Outgoing], mandatory: bool) -> list[bytes]:
        pieces: list[bytes] = _native.compose(messages, mandatory, self._channel, self._most, PIECE_BYTES, self._plain)
        return pieces


class _Reader:
    """As `celeriac_amqp.codec.DeliveryReader`."""

    __slots__ = ("_plain",)

    def __init__(self) -> None:
        self._plain = DeliveryReader().read_one

    def read(self, queue: str, events: list[Event]) -> list[Incoming]:
        found: list[Incoming] = _native.read(queue, events, Incoming, Properties, self._plain)
        return found


NATIVE: Final[Codec] = codec.Codec(parser=_Parser, composer=_Composer, reader=_Reader)
