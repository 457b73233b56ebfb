"""A message as brokers carry it, and one delivery of it.

The records of the hot path are hidden from the garbage collector (`gc=False`): there are a dozen for each task in
flight, looking through them took as long as running a no-op, and none of them can be part of a cycle.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

__all__ = ["Delivery", "Message"]


class Message(Struct, frozen=True, kw_only=True, gc=False):
    """One message: the header table, the serialized body and the address.

    `headers` and `properties` are JSON-compatible mappings. With `exchange == ""` the routing key is the name of
    the queue. `due` and `expires` are seconds since 1970: a broker delivers nothing before `due`; `expires` only
    allows it to drop the message later, the worker checks again. `priority` 0 is the lowest, as in AMQP.
    """

    body: bytes
    routing_key: str
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    exchange: str = ""
    priority: int = 0
    due: float | None = None
    expires: float | None = None


class Delivery(Struct, frozen=True, kw_only=True, gc=False):
    """One message in the hands of one holder.

    `tag` is the transport's own handle, opaque to everybody else; it carries the fencing token. `deliveries`
    counts how often the message has been taken, this time included and hand-backs of unstarted work excluded.
    `unrevoked` is True where the take itself saw that nothing at all was revoked, so that nobody need ask.
    """

    message: Message
    queue: str
    tag: Any
    deliveries: int = 1
    unrevoked: bool = False
