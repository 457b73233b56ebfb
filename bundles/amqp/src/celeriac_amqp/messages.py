"""Messages as they lie in RabbitMQ: the properties and headers of kombu, and a few headers of our own.

Ours begin with `x-celeriac-`; other programs ignore them, and nobody sees them in the headers of a message that was
read. RabbitMQ's own (`x-death` and so on) are left out too, for a copy that kept them could be taken for a message that
goes in circles, and dropped.

Source: kombu 5, `kombu/transport/pyamqp.py` (`prepare_message`, `Message`); docs/explanation/rabbitmq.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct

from celeriac.errors import EncodeError
from celeriac.model.message import Message
from celeriac_amqp.delays import DELIVERY_EXCHANGE, without_delay
from celeriac_amqp.frames import Incoming, Outgoing, Properties

__all__ = ["DELIVERIES", "HELD", "LETTER_HEADERS", "OWN_HEADERS", "Reading", "read", "write"]

DELIVERIES: Final = "x-celeriac-deliveries"
"""How often the message was taken before this copy of it was made."""
EXCHANGE: Final = "x-celeriac-exchange"
ROUTING_KEY: Final = "x-celeriac-routing-key"
"""Where it was published, for one that came to its queue by another way: a copy, or a delayed message."""
EXPIRES: Final = "x-celeriac-expires"
"""When it expires, in seconds since 1970. The property `expiration` would have RabbitMQ drop it without a word."""
PROPERTIES: Final = "x-celeriac-properties"
"""Properties that AMQP has no place for, or that RabbitMQ would refuse or act on in a copy."""
HELD: Final = "x-celeriac-held"
"""Of a copy that a worker holds in a queue of its own: the delivery tag of the first delivery."""
LETTER_HEADERS: Final = ("x-celeriac-letter", "x-celeriac-reason", "x-celeriac-queue", "x-celeriac-moment")
OWN_HEADERS: Final = (DELIVERIES, EXCHANGE, ROUTING_KEY, EXPIRES, PROPERTIES, HELD, *LETTER_HEADERS)

_COUNT: Final = "x-delivery-count"
"""How often a quorum queue has delivered the message before, without an acknowledgement."""
_HIDDEN: Final = frozenset(
    {*OWN_HEADERS, _COUNT, "x-acquired-count", "x-death", "x-opt-deaths"}
    | {f"x-{which}-death-{what}" for which in ("first", "last") for what in ("exchange", "queue", "reason")}
)
_TEXTS: Final = (
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_NUMBERS: Final = ("delivery_mode", "timestamp")
_OWN: Final = frozenset({"correlation_id", "reply_to", "delivery_mode"})
"""The properties of task messages."""
_KNOWN: Final = frozenset(_TEXTS + _NUMBERS)
_RISKY: Final = frozenset({"user_id", "expiration"})
"""Of a copy: RabbitMQ refuses another user's name, and would count the time to live from the start."""

_OTHERS: Final = tuple(sorted(_KNOWN - _OWN))
_NO_OTHERS: Final = (None,) * len(_OTHERS)
_others = attrgetter(*_OTHERS)

_PERSISTENT: Final = 2
_SHORT_BYTES: Final = 255
"""What AMQP calls a short string is no longer."""
_SURELY_SHORT: Final = _SHORT_BYTES // 4
_NO_TYPE: Final = "application/data"
"""What kombu calls bytes of which nothing is said."""


class Reading(Struct, frozen=True, kw_only=True, gc=False):
    """What was read of a delivery. `before`: how often it was taken before.

    `uncounted`: it was delivered before and the broker did not say how often, which may have been once or many times.
    """

    message: Message
    before: int = 0
    uncounted: bool = False


def read(incoming: Incoming) -> Reading:
    """Return the message of a delivery whose headers could be read."""
    headers, found = incoming.headers, incoming.properties
    exchange, routing_key, expires = incoming.exchange, incoming.routing_key, None
    properties = _properties(found)
    before, uncounted = 0, incoming.redelivered
    if exchange == DELIVERY_EXCHANGE:
        exchange, routing_key = "", without_delay(routing_key)
    if not _HIDDEN.isdisjoint(headers):
        own, headers = headers, {name: value for name, value in headers.items() if name not in _HIDDEN}
        before = _number(own.get(DELIVERIES))
        if _COUNT in own:
            before, uncounted = before + _number(own[_COUNT]), False
        exchange, routing_key = str(own.get(EXCHANGE, exchange)), str(own.get(ROUTING_KEY, routing_key))
        expires = own.get(EXPIRES)
        if isinstance(own.get(PROPERTIES), dict):
            properties.update(own[PROPERTIES])
    return Reading(
        message=Message(
            body=incoming.body,
            routing_key=routing_key,
            headers=headers,
            properties=properties,
            content_type=found.content_type or _NO_TYPE,
            content_encoding=found.content_encoding or "utf-8",
            exchange=exchange,
            priority=found.priority or 0,
            expires=float(expires) if isinstance(expires, float | int) else None,
        ),
        before=before,
        uncounted=uncounted,
    )


def _properties(found: Properties) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    # Those of a task one by one, for speed; the others only if there is one.
    if found.correlation_id is not None:
        properties["correlation_id"] = found.correlation_id
    if found.reply_to is not None:
        properties["reply_to"] = found.reply_to
    if found.delivery_mode is not None:
        properties["delivery_mode"] = found.delivery_mode
    others = _others(found)
    if others != _NO_OTHERS:
        properties.update((name, value) for name, value in zip(_OTHERS, others, strict=True) if value is not None)
    return properties


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def write(
    message: Message,
    *,
    exchange: str | None = None,
    routing_key: str | None = None,
    own: Mapping[str, Any] | None = None,
    copy: bool = False,
) -> Outgoing:
    """Return a message ready to be published: where it says, or elsewhere, which it then remembers.

    `own` are headers of ours. `copy`: it was read from a queue, maybe one that somebody else filled.

    Raises: EncodeError: a property cannot be written.
    """
    to = message.exchange if exchange is None else exchange
    key = message.routing_key if routing_key is None else routing_key
    if (len(key) > _SURELY_SHORT and len(key.encode()) > _SHORT_BYTES) or len(to.encode()) > _SHORT_BYTES:
        raise EncodeError(f"RabbitMQ takes names and routing keys of up to 255 bytes; {key or to!r} is longer.")
    headers = message.headers
    properties, odd = message.properties, None
    if not _OWN.issuperset(properties):
        odd = {name: each for name, each in properties.items() if name not in _KNOWN or (copy and name in _RISKY)}
        properties = {name: each for name, each in properties.items() if name not in odd}
    if to != message.exchange or key != message.routing_key or message.expires is not None or own or odd:
        headers = dict(headers)
        if to != message.exchange or key != message.routing_key:
            headers[EXCHANGE], headers[ROUTING_KEY] = message.exchange, message.routing_key
        if message.expires is not None:
            headers[EXPIRES] = float(message.expires)
        if odd:
            headers[PROPERTIES] = odd
        headers.update(own or {})
    return Outgoing(
        exchange=to,
        routing_key=key,
        properties=_written(message, properties),
        headers=headers,
        body=message.body,
    )


def _written(message: Message, properties: Mapping[str, Any]) -> Properties:
    correlation_id, reply_to = properties.get("correlation_id"), properties.get("reply_to")
    mode = properties.get("delivery_mode", _PERSISTENT)
    if _OWN.issuperset(properties) and (
        (correlation_id is None or isinstance(correlation_id, str))
        and (reply_to is None or isinstance(reply_to, str))
        and isinstance(mode, int)
    ):
        return Properties(
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            delivery_mode=mode,
            priority=min(message.priority, 255) or None,
            correlation_id=correlation_id,
            reply_to=reply_to,
        )
    for name, value in properties.items():
        wanted = str if name in _TEXTS else int
        if value is not None and not isinstance(value, wanted):
            raise EncodeError(f"The property {name!r} of a message must be of type {wanted.__name__}, not {value!r}.")
    return Properties(
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        priority=min(message.priority, 255) or None,
        **{"delivery_mode": _PERSISTENT, **properties},
    )
