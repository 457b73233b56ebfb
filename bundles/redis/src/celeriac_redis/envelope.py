"""Messages as they wait in Redis: kombu's JSON envelope, the body in base64.

Beside kombu's fields an envelope of ours has up to three of its own, which kombu ignores: `celeriac-moment`, when it
was published; `celeriac-due` and `celeriac-expires`, the moments of the message. One that has a moment to wait for
begins with it, so that scripts see it without parsing JSON. A message that was taken and came back begins with
`celeriac-deliveries`, how often it has been taken. That one the scripts put in front of whatever is there, as text:
the bytes that somebody else wrote stay as they are.

Source: kombu 5, `kombu/transport/virtual/base.py` (`prepare_message`, `_inplace_augment_message`).
"""

from __future__ import annotations

import binascii
import json
import os
import re
from itertools import count
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from celeriac.client.identity import process_id
from celeriac.errors import EncodeError
from celeriac.model.message import Message

__all__ = ["COUNT", "moment_of", "open_envelope", "seal"]

COUNT: Final = b'{"celeriac-deliveries":'
"""What a message that was taken before begins with."""
_DUE: Final = b'{"celeriac-due":'

_OWN: Final = ("delivery_info", "delivery_tag", "body_encoding", "priority")
"""Properties that belong to the envelope and not to the message."""


class _DeliveryInfo(Struct, gc=False):
    exchange: str | None = None
    routing_key: str | None = None


class _Sealed(Struct):
    """What is written. The order is that in which kombu writes."""

    moment: float = field(name="celeriac-moment")
    body: str
    content_encoding: str = field(name="content-encoding")
    content_type: str = field(name="content-type")
    headers: dict[str, Any]
    properties: dict[str, Any]
    expires: float | msgspec.UnsetType = field(name="celeriac-expires", default=msgspec.UNSET)


class _Common(Struct, kw_only=True, gc=False):
    content_encoding: str | None = field(name="content-encoding", default=None)
    content_type: str | None = field(name="content-type", default=None)
    headers: dict[str, Any] | None = None
    due: float | None = field(name="celeriac-due", default=None)
    expires: float | None = field(name="celeriac-expires", default=None)
    deliveries: int = field(name="celeriac-deliveries", default=0)


class _Address(Struct, gc=False, forbid_unknown_fields=True):
    exchange: str
    routing_key: str


class _Properties(Struct, gc=False, forbid_unknown_fields=True):
    """Those that tasks have, of Celery's and of our clients; a message with others is read in the general way."""

    correlation_id: str
    reply_to: str
    delivery_mode: int
    delivery_info: _Address
    priority: int
    body_encoding: Literal["base64"]
    delivery_tag: str


class _Usual(_Common, kw_only=True, gc=False):
    """An envelope as tasks come in: msgspec decodes the body on the way."""

    properties: _Properties
    body: bytes = b""


class _Any(_Common, kw_only=True):
    """Any other that kombu takes: the body may be plain text, or no text at all."""

    properties: dict[str, Any]
    body: Any = None


_NO_TYPE: Final = "application/data"
"""What kombu calls bytes of which nothing is said."""

_encode = msgspec.json.Encoder().encode
_decode_usual = msgspec.json.Decoder(_Usual).decode
_decode_any = msgspec.json.Decoder(_Any).decode
_MOMENT: Final = re.compile(rb'\{(?:"celeriac-deliveries":\d+,)?(?:"celeriac-due":[^,]+,)?"celeriac-moment":([0-9.]+),')
_base64 = binascii.b2a_base64

_process = ""
_tags = ("", count())


def _tag() -> str:
    """Return a delivery tag that no other message has; a random part per process, then a number."""
    global _process, _tags  # noqa: PLW0603  a forked process must not repeat its parent's tags
    if _process is not process_id():  # asking the system for its number takes as long as the rest of this
        _tags = (os.urandom(10).hex() + "-", count())
        _process = process_id()
    return _tags[0] + str(next(_tags[1]))


def seal(message: Message, moment: float) -> bytes:
    """Write a message down as kombu does; `moment` is now, in seconds since 1970.

    Raises: EncodeError: a header or property is no JSON.
    """
    properties = {
        **message.properties,
        "delivery_info": {"exchange": message.exchange, "routing_key": message.routing_key},
        "priority": message.priority,
        "body_encoding": "base64",
        "delivery_tag": _tag(),
    }
    sealed = _Sealed(
        moment,
        str(_base64(message.body, newline=False), "ascii"),
        message.content_encoding,
        message.content_type,
        message.headers,
        properties,
    )
    if message.expires is not None:
        sealed.expires = message.expires
    try:
        raw = _encode(sealed)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        raise EncodeError(f"The headers or properties of a message cannot be written as JSON: {error}.") from error
    return raw if message.due is None else b"%s%r,%s" % (_DUE, message.due, raw[1:])


def open_envelope(raw: bytes, queue: str) -> tuple[Message, int]:
    """Read what was taken from `queue`; return the message, and how often it has been taken before.

    What is no envelope becomes the bytes that are there, for admission to refuse.
    """
    try:
        envelope = _decode_usual(raw)
    except (ValueError, RecursionError):
        return _open_unusual(raw, queue)
    properties = envelope.properties
    address = properties.delivery_info
    return (
        Message(
            body=envelope.body,
            routing_key=address.routing_key,
            headers=envelope.headers or {},
            properties={
                "correlation_id": properties.correlation_id,
                "reply_to": properties.reply_to,
                "delivery_mode": properties.delivery_mode,
            },
            content_type=envelope.content_type or _NO_TYPE,
            content_encoding=envelope.content_encoding or "utf-8",
            exchange=address.exchange,
            priority=properties.priority,
            due=envelope.due,
            expires=envelope.expires,
        ),
        envelope.deliveries,
    )


def _open_unusual(raw: bytes, queue: str) -> tuple[Message, int]:
    """Read an envelope that somebody else wrote in another way, leaving nothing to chance."""
    try:
        envelope = _read_any(raw)
        properties = dict(envelope.properties)
        info = msgspec.convert(properties.get("delivery_info") or {}, _DeliveryInfo)
        body = _body(envelope.body, properties.get("body_encoding"))
        priority = properties.get("priority")
        for name in _OWN:
            properties.pop(name, None)
        return (
            Message(
                body=body,
                routing_key=queue if info.routing_key is None else info.routing_key,
                headers=envelope.headers or {},
                properties=properties,
                content_type=envelope.content_type or _NO_TYPE,
                content_encoding=envelope.content_encoding or "utf-8",
                exchange=info.exchange or "",
                priority=priority if isinstance(priority, int) else 0,
                due=envelope.due,
                expires=envelope.expires,
            ),
            envelope.deliveries,
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return _unreadable(raw, queue), _count(raw)


def _read_any(raw: bytes) -> _Any:
    try:
        return _decode_any(raw)
    except msgspec.ValidationError:
        raise
    except ValueError:
        # Python's own reader takes what kombu's writer may write: NaN, Infinity, lone surrogates.
        return msgspec.convert(json.loads(raw), _Any)


def _body(body: Any, encoding: Any) -> bytes:
    if encoding == "base64":
        return binascii.a2b_base64(body or "")
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return b"" if body is None else msgspec.json.encode(body)


def _unreadable(raw: bytes, queue: str) -> Message:
    return Message(body=raw, routing_key=queue, content_type="application/octet-stream", content_encoding="binary")


def _count(raw: bytes) -> int:
    """Read the count that a script wrote in front of something unreadable."""
    digits = raw[len(COUNT) :].partition(b",")[0] if raw.startswith(COUNT) else b""
    return int(digits) if digits.isdigit() else 0


def moment_of(beginning: bytes) -> float | None:
    """Return when a message was published, in seconds since 1970; None if who published it did not say.

    The first 200 bytes of the message are enough.
    """
    found = _MOMENT.match(beginning)
    return float(found[1]) if found else None
