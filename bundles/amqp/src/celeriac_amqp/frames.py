"""Messages as they are sent and as they arrive, and the frames that carry them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = ["Incoming", "Outgoing", "Properties"]


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
