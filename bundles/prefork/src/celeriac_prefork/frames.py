"""What goes between the parent and its children, as bytes.

    to a child      number (8 bytes), kind (4), four bytes of nothing, payload: one message of the shared socket
    from a child    a frame of its slot's ring: kind, number, payload

    kind  NOTHING   wakes a child
          QUIT      the child that receives it ends
          PLAIN     a Request or an Outcome as MessagePack
          SPOOLED   the same, in a file of the spool
          PICKLED   a Request that MessagePack cannot express, an integer of a hundred digits in a header, say
          LENIENT   an Outcome of that sort: headers and properties of its follow-ups are JSON texts
          BROKEN    instead of an outcome, why there is none, as a text

Nothing that comes from a child is unpickled: an outcome holds only bytes, texts and numbers, whatever the task raised.
"""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac_prefork.slots import FRAME_LIMIT
from celeriac_prefork.spool import OUTCOME, REQUEST, Spool

__all__ = ["BROKEN", "HEADER", "NOTHING", "PLAIN", "QUIT", "Broken", "Frames"]

NOTHING: Final = 0
QUIT: Final = 1
PLAIN: Final = 2
SPOOLED: Final = 3
PICKLED: Final = 4
LENIENT: Final = 5
BROKEN: Final = 6

HEADER: struct.Struct = struct.Struct("<QII")
_OUTCOME_LIMIT = 1 << 16
_JSON = "\0json"
"""The key under which a LENIENT frame has the text of a mapping."""


class Broken(Exception):
    """A child could not say how its run ended; the text says why."""


class Frames:
    """Writes and reads frames; what is large goes by the spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_request = msgspec.msgpack.Decoder(Request).decode
        self._decode_outcome = msgspec.msgpack.Decoder(Outcome).decode

    def request(self, number: int, request: Request) -> bytes:
        """Write a request as a message to a child.

        Raises: OSError: it is large and the spool is full. Whatever pickling raises.
        """
        kind = PLAIN
        try:
            data = self._encode(request)
        except (TypeError, ValueError, OverflowError, RecursionError):
            kind, data = PICKLED, pickle.dumps(request)
        if len(data) > FRAME_LIMIT - HEADER.size:
            self._spool.put(REQUEST, number, bytes([kind]) + data)
            kind, data = SPOOLED, b""
        return HEADER.pack(number, kind, 0) + data

    def read_request(self, number: int, kind: int, data: memoryview) -> Request:
        """Read what `request` wrote."""
        if kind == PLAIN:
            return self._decode_request(data)
        if kind == SPOOLED:
            whole = self._spool.take(REQUEST, number)
            return self.read_request(number, whole[0], memoryview(whole)[1:])
        if kind == PICKLED:
            request: Request = pickle.loads(data)  # noqa: S301  the worker's own process wrote it
            return request
        raise ValueError(f"A frame of kind {kind} is no request")

    def outcome(self, number: int, outcome: Outcome) -> tuple[int, bytes]:
        """Write an outcome; return the kind of its frame and the payload.

        Raises: OSError: it is large and the spool is full.
        """
        kind = PLAIN
        try:
            data = self._encode(outcome)
        except (TypeError, ValueError, OverflowError, RecursionError):
            kind, data = LENIENT, self._encode(_lenient(outcome))
        if len(data) > _OUTCOME_LIMIT:
            self._spool.put(OUTCOME, number, bytes([kind]) + data)
            return SPOOLED, b""
        return kind, data

    def read_outcome(self, number: int, kind: int, data: memoryview) -> Outcome:
        """Read what `outcome` wrote.

        Raises: Broken: the child says that there is none. Exception: it cannot be read.
        """
        if kind == PLAIN:
            return self._decode_outcome(data)
        if kind == SPOOLED:
            whole = self._spool.take(OUTCOME, number)
            return self.read_outcome(number, whole[0], memoryview(whole)[1:])
        if kind == LENIENT:
            return _strict(self._decode_outcome(data))
        if kind == BROKEN:
            raise Broken(bytes(data).decode("utf-8", "replace"))
        raise ValueError(f"A frame of kind {kind} is no outcome")


def _lenient(outcome: Outcome) -> Outcome:
    """Return an outcome that MessagePack can express."""
    return replace(
        outcome,
        reason=_text(outcome.reason),
        error=_text(outcome.error),
        traceback=None if outcome.traceback is None else _text(outcome.traceback),
        followups=tuple(
            replace(message, headers=_as_json(message.headers), properties=_as_json(message.properties))
            for message in outcome.followups
        ),
    )


def _strict(outcome: Outcome) -> Outcome:
    return replace(outcome, followups=tuple(_from_json(message) for message in outcome.followups))


def _as_json(mapping: dict[str, Any]) -> dict[str, Any]:
    return {_JSON: json.dumps(mapping, default=str)}


def _from_json(message: Message) -> Message:
    return replace(
        message, headers=json.loads(message.headers[_JSON]), properties=json.loads(message.properties[_JSON])
    )


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
