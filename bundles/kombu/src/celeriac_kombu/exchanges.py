"""Exchanges of kombu's virtual transports: what is known of them in this process, and exact topics.

Many virtual transports know of exchanges and bindings only what was declared on the same connection. Here all
connections of a process to one broker know the same.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from kombu.transport import virtual
from kombu.transport.virtual.exchange import TopicExchange

from celeriac.model.routing import topic_matches

__all__ = ["make_exact", "share_state"]

_lock: Final = threading.Lock()
_states: Final[dict[str, virtual.BrokerState]] = {}


def share_state(transport: Any, key: str) -> None:
    """Give a virtual transport what this process knows of the exchanges of the broker `key`."""
    with _lock:
        transport.state = _states.setdefault(key, virtual.BrokerState())


class ExactTopic(TopicExchange):  # type: ignore[misc]  # kombu has no types
    """A topic exchange as AMQP has it: `#` is any number of words, also none. kombu's wants at least a dot for it."""

    def lookup(self, table: Any, exchange: str, routing_key: str, default: Any) -> set[str]:
        return {queue for pattern, _, queue in table if topic_matches(pattern, routing_key)}


def make_exact(channel: Any) -> None:
    """Have the topic exchanges of a virtual channel match as AMQP's do, where they are kombu's usual ones."""
    if type(channel.exchange_types.get("topic")) is TopicExchange:
        channel.exchange_types["topic"] = ExactTopic(channel)
