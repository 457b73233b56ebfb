"""Messages as they are stored: one line of JSON each, a large body beside it.

The text is the `Message` record as msgspec writes it, the body in base64, so that one C call decodes a whole take
and no Python runs per message. A body above `INLINE_BYTES` is a blob in its own table: it is neither copied when a
message moves nor pressed through base64.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from celeriac.errors import EncodeError
from celeriac.model.message import Message

__all__ = ["INLINE_BYTES", "Envelope", "Line", "decode_lines", "decode_text", "seal"]

INLINE_BYTES: Final = 16 * 1024
_LARGE_BYTES: Final = 4 * 1024
"""A message above this has its size on record, so that a take can stop in time."""
_MOST_BYTES: Final = 900_000_000
"""SQLite's own limit of a value is a thousand million bytes."""


class Envelope(Struct, frozen=True, gc=False):
    """A message ready to be stored. `size` is 0 unless it is large; `body` is None unless it has a place of its own."""

    text: str
    body: bytes | None = None
    size: int = 0


class Line(Struct, frozen=True, array_like=True, gc=False):
    """One taken message as the query writes it."""

    id: int
    deliveries: int
    size: int
    message: Message


_encoder = msgspec.json.Encoder()
_line_decoder = msgspec.json.Decoder(Line)
_decoder = msgspec.json.Decoder(Message)


def seal(message: Message) -> Envelope:
    """Write a message down.

    Raises: EncodeError: a header or property is no JSON, nested too deeply, or the message is too large.
    """
    body: bytes | None = None
    if len(message.body) > INLINE_BYTES:
        body = bytes(message.body)
        message = msgspec.structs.replace(message, body=b"")
    try:
        text = str(_encoder.encode(message), "utf-8")
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        raise EncodeError(f"The headers or properties of a message cannot be written as JSON: {error}.") from error
    size = len(text) + len(body or b"")
    if size > _MOST_BYTES:
        raise EncodeError(f"A message of {size} bytes is more than SQLite stores. Put the data in a file.")
    return Envelope(text, body, size if size > _LARGE_BYTES else 0)


def decode_text(text: str, body: bytes | None) -> Message:
    """Read a stored message; one that is damaged becomes the bytes that are there, for admission to refuse."""
    try:
        message = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _unreadable(text)
    return message if body is None else msgspec.structs.replace(message, body=body)


def decode_lines(lines: str) -> list[Line]:
    """Read what the taking query returned."""
    try:
        return _line_decoder.decode_lines(lines)
    except (msgspec.DecodeError, RecursionError):
        return [_decode_line(line) for line in lines.split("\n")]


def _decode_line(line: str) -> Line:
    """Read one line whose message may be damaged; its numbers, which the query wrote, are not."""
    try:
        return _line_decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        id_, deliveries, size, text = line[1:-1].split(",", 3)
        return Line(int(id_), int(deliveries), int(size), _unreadable(text))


def _unreadable(text: str) -> Message:
    return Message(body=text.encode("utf-8", "replace"), routing_key="", content_type="application/octet-stream")
