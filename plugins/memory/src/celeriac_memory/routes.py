"""Exchanges, their bindings, and the queues that a message reaches."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.errors import ConfigurationError, Unroutable
from celeriac.model.message import Message
from celeriac.model.routing import Exchange, Queue, binding_matches

__all__ = ["Routes"]

_BINDING_FIELDS = frozenset({"exchange", "routing_key"})
"""A queue declared again may bring another binding; everything else about it is fixed."""


class Routes:
    """What was declared. Not thread-safe."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._bindings: dict[str, dict[tuple[str, str], None]] = {}

    def declare(self, queues: Sequence[Queue]) -> None:
        """Add queues, exchanges and bindings: all of them, or none and an error."""
        wanted_queues, wanted_exchanges = dict(self.queues), dict(self._exchanges)
        for queue in queues:
            _agree("queue", queue.name, wanted_queues.setdefault(queue.name, queue), queue)
            if queue.exchange is not None and queue.exchange.name:
                exchange = queue.exchange
                _agree("exchange", exchange.name, wanted_exchanges.setdefault(exchange.name, exchange), exchange)
        self.queues, self._exchanges = wanted_queues, wanted_exchanges
        for queue in queues:
            if queue.exchange is not None and queue.exchange.name:
                self._bindings.setdefault(queue.exchange.name, {})[queue.name, queue.key] = None

    def reached_by(self, message: Message) -> list[str]:
        """Return the queues that get a copy, each once.

        Raises: Unroutable: there is none.
        """
        if not message.exchange:
            return [message.routing_key]
        exchange = self._exchanges.get(message.exchange)
        if exchange is not None:
            names = dict.fromkeys(
                name
                for name, pattern in self._bindings[exchange.name]
                if binding_matches(exchange.type, pattern, message.routing_key)
            )
            if names:
                return list(names)
        raise Unroutable(message.exchange, message.routing_key)


def _agree(kind: str, name: str, have: Queue | Exchange, want: Queue | Exchange) -> None:
    for field in have.__struct_fields__:
        if field in _BINDING_FIELDS:
            continue
        old, new = getattr(have, field), getattr(want, field)
        if old != new:
            raise ConfigurationError(
                f"The {kind} {name!r} exists with {field}={old!r}, not {new!r}."
                f" Declare it with the same {field}, or use another name."
            )
