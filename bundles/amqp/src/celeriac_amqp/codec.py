"""Between bytes and messages: the part of a link that another distribution may do in another way.

A link makes one parser for what arrives, a publishing channel one composer, a consumer one reader. Each is used by one
thread at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from celeriac_amqp.frames import PIECE_BYTES, Composer, Incoming, Outgoing, Properties, properties_of
from celeriac_amqp.parser import Event, Parser
from celeriac_amqp.tables import BadTable, Reader

__all__ = ["PIECE_BYTES", "PYTHON", "Codec", "Composes", "DeliveryReader", "Parses", "Reads"]

_NO_PROPERTIES: Final = Properties()
_tag = struct.Struct(">Q").unpack_from


class Parses(Protocol):
    """Makes events of bytes in any cuts, whole messages for the channels in `ours`; see `Parser`."""

    @property
    def ours(self) -> set[int]:
        """Channels whose messages are put together."""

    frame_max: int

    def feed(self, data: bytes) -> list[Event]:
        """Return what is complete with these bytes. Raises: Garbled."""

    def forget(self, channel: int) -> None:
        """Stop collecting for a channel that was closed."""


class Composes(Protocol):
    """Writes messages for one channel."""

    def compose_all(self, messages: Sequence[Outgoing], mandatory: bool) -> list[bytes]:
        """Return the frames of all messages in pieces of about `PIECE_BYTES`, each of which ends with a message.

        Raises: BadTable: one of them cannot be sent as it is; it says why.
        """


class Reads(Protocol):
    """Makes messages of deliveries."""

    def read(self, queue: str, events: list[Event]) -> list[Incoming]:
        """Return what a queue delivered, `malformed` where headers or properties cannot be read."""


class Codec(Struct, frozen=True, kw_only=True):
    """How to make one of each. `composer` is given the channel's number and the size of the server's largest frame."""

    parser: Callable[[], Parses]
    composer: Callable[[int, int], Composes]
    reader: Callable[[], Reads]


class DeliveryReader:
    """Reads deliveries one after the other; what repeats in their headers is read once."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables = Reader()

    def read(self, queue: str, events: list[Event]) -> list[Incoming]:
        """As `Reads` says."""
        return [self.read_one(queue, event) for event in events]

    def read_one(self, queue: str, event: Event) -> Incoming:
        """Return one message."""
        arguments = event[2]
        at = 1 + arguments[0]
        end = at + 10 + arguments[at + 9]
        malformed = None
        try:
            properties, headers = properties_of(event[3], self._tables)
        except BadTable as error:
            properties, headers, malformed = _NO_PROPERTIES, {}, str(error)
        return Incoming(
            queue=queue,
            exchange=arguments[at + 10 : end].decode("utf-8", "backslashreplace"),
            routing_key=arguments[end + 1 :].decode("utf-8", "backslashreplace"),
            redelivered=bool(arguments[at + 8] & 1),
            properties=properties,
            headers=headers,
            body=event[4],
            tag=_tag(arguments, at)[0],
            malformed=malformed,
        )


PYTHON: Final = Codec(parser=Parser, composer=Composer, reader=DeliveryReader)
