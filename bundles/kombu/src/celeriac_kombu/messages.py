"""Messages as kombu carries them.

Headers of our own, removed before anybody sees the message: `x-celeriac-deliveries`, how often it was taken before;
`x-celeriac-exchange` and `x-celeriac-routing-key`, where it was sent, on a copy that went straight to a queue;
`x-celeriac-expires`, when it may be dropped. On what was put aside: `x-celeriac-reason`, `-queue` and `-moment` too.

Source: kombu 5, `kombu/transport/virtual/base.py` (`Message`, `prepare_message`).
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from celeriac.model.message import Delivery, Message
from celeriac_kombu.kinds import Kind

__all__ = ["ASIDE", "Outgoing", "aside", "copy_of", "incoming", "outgoing", "was_redelivered"]

_OWN: Final = "x-celeriac-"
_DELIVERIES: Final = "x-celeriac-deliveries"
_EXCHANGE: Final = "x-celeriac-exchange"
_KEY: Final = "x-celeriac-routing-key"
_EXPIRES: Final = "x-celeriac-expires"
_ENVELOPE: Final = frozenset(
    {"application_headers", "body_encoding", "content_encoding", "content_type", "delivery_info", "delivery_tag"}
    | {"priority"}
)
"""Properties that belong to the way and not to the message."""

ASIDE: Final = ("celeriac.dead", "celeriac.parked")
"""The queues of what was put aside."""


class Outgoing(Struct, frozen=True):
    """A message and how it goes: to `exchange` with `routing_key`, with `headers` beside its own."""

    message: Message
    exchange: str
    routing_key: str
    headers: dict[str, Any]


def outgoing(message: Message, kind: Kind) -> Outgoing:
    """Address a message that somebody publishes."""
    exchange = kind.exchange_name(message.exchange)
    key = message.routing_key if message.exchange else kind.queue_name(message.routing_key)
    headers: dict[str, Any] = {}
    if exchange != message.exchange or key != message.routing_key:
        headers |= {_EXCHANGE: message.exchange, _KEY: message.routing_key}
    if message.expires is not None:
        headers[_EXPIRES] = message.expires
    return Outgoing(message, exchange, key, headers)


def copy_of(message: Message, queue: str, deliveries: int, kind: Kind) -> Outgoing:
    """Address a copy of what was taken `deliveries` times to its queue."""
    headers: dict[str, Any] = {}
    if deliveries:
        headers[_DELIVERIES] = deliveries
    if message.exchange or message.routing_key != queue:
        headers |= {_EXCHANGE: message.exchange, _KEY: message.routing_key}
    direct = outgoing(replace(message, exchange="", routing_key=queue), kind)
    return replace(direct, message=message, headers={**direct.headers, **headers})


def aside(delivery: Delivery, place: str, reason: str, moment: float, kind: Kind) -> Outgoing:
    """Address a copy of a delivery to a queue of what is put aside."""
    copy = copy_of(delivery.message, place, delivery.deliveries, kind)
    told = {"x-celeriac-reason": reason, "x-celeriac-queue": delivery.queue, "x-celeriac-moment": moment}
    return replace(copy, headers={**copy.headers, **told})


def incoming(raw: Any, queue: str) -> tuple[Message, int]:
    """Read a message of kombu that was taken from `queue`; return it, and how often it was taken before."""
    all_headers = dict(raw.headers or {})
    own = {name: all_headers.pop(name) for name in list(all_headers) if name.startswith(_OWN)}
    if all_headers.get("compression") and not raw.errors:
        del all_headers["compression"]  # kombu has undone it
    info, properties = raw.delivery_info or {}, raw.properties or {}
    priority = properties.get("priority")
    count, key = own.get(_DELIVERIES), own.get(_KEY, info.get("routing_key"))
    message = Message(
        body=_bytes(raw.body),
        routing_key=queue if key is None else str(key),
        headers=all_headers,
        properties={name: value for name, value in properties.items() if name not in _ENVELOPE},
        content_type=raw.content_type or "application/data",
        content_encoding=raw.content_encoding or "utf-8",
        exchange=own.get(_EXCHANGE, info.get("exchange")) or "",
        priority=priority if isinstance(priority, int) else 0,
        expires=own.get(_EXPIRES),
    )
    return message, count if isinstance(count, int) else 0


def was_redelivered(raw: Any) -> bool:
    """Whether the broker says that somebody had this message and did not acknowledge it."""
    return bool((raw.delivery_info or {}).get("redelivered") or getattr(raw, "_raw", {}).get("redelivered"))


def _bytes(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return b"" if body is None else bytes(body)
