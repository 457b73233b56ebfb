"""Exchanges, queues, bindings, and which queues a message reaches.

Source: AMQP 0-9-1, section 3.1.3 (exchange types) and 3.1.3.3 (topic patterns: `*` is one word, `#` any number).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from celeriac.errors import ConfigurationError

__all__ = ["Binding", "Exchange", "ExchangeType", "Queue", "binding_matches", "bound", "by_name", "topic_matches"]

ExchangeType = Literal["direct", "topic", "fanout"]
_TYPES = ("direct", "topic", "fanout")


class Exchange(Struct, frozen=True):
    """Where messages are sent by routing key. The exchange `""` delivers to the queue named by the key."""

    name: str = ""
    type: ExchangeType = "direct"
    durable: bool = True

    def __post_init__(self) -> None:
        if self.type not in _TYPES:
            raise ConfigurationError(f"Exchange {self.name!r}: type {self.type!r} is none of {', '.join(_TYPES)}.")


class Binding(Struct, frozen=True):
    """A further way into a queue."""

    exchange: Exchange
    routing_key: str = ""


class Queue(Struct, frozen=True):
    """A queue and the binding that fills it, or several of them.

    Without an exchange it is reached by its name alone. `routing_key` defaults to the name. `max_priority`,
    `message_ttl_seconds`, `expires_seconds` and `arguments` matter to brokers that know them.
    """

    name: str
    exchange: Exchange | None = None
    routing_key: str | None = None
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    max_priority: int | None = None
    message_ttl_seconds: float | None = None
    expires_seconds: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    """More ways into it, beside `exchange` and `routing_key`."""

    @property
    def key(self) -> str:
        """The binding key."""
        return self.name if self.routing_key is None else self.routing_key


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a topic pattern matches a routing key; words are separated by dots."""
    return _words_match(pattern.split("."), key.split(".") if key else [])


def _words_match(pattern: list[str], words: list[str]) -> bool:
    """Match word by word, keeping for each `#` the set of positions it may have reached; linear in both."""
    reached = {0}
    for part in pattern:
        if part == "#":
            reached = set(range(min(reached), len(words) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(words) and part in ("*", words[at])}
        if not reached:
            return False
    return len(words) in reached


def binding_matches(type_: str, pattern: str, key: str) -> bool:
    """Whether a binding of an exchange of this type takes a message with this routing key."""
    if type_ == "fanout":
        return True
    return topic_matches(pattern, key) if type_ == "topic" else pattern == key


def bound(queues: Iterable[Queue]) -> list[Queue]:
    """Return each queue once for each of its bindings, as transports declare them."""
    found = []
    for queue in queues:
        found.append(replace(queue, bindings=()))
        found += [
            replace(queue, exchange=each.exchange, routing_key=each.routing_key, bindings=()) for each in queue.bindings
        ]
    return found


def by_name(queues: Iterable[Queue]) -> dict[str, Queue]:
    """Index queues by name.

    Raises: ConfigurationError: two differ under one name.
    """
    found: dict[str, Queue] = {}
    for queue in queues:
        if found.setdefault(queue.name, queue) != queue:
            raise ConfigurationError(f"Queue {queue.name!r} is defined twice, differently. Keep one definition.")
    return found
