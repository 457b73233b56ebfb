"""Which queues a message goes to, and the bindings that say so.

Bindings of direct and topic exchanges are kombu's, so both sides route by what either declared. kombu writes down no
type of an exchange: ours are in a hash; a binding with a pattern is a topic one, any other direct.

A fanout exchange of kombu's is a channel, heard by who is subscribed at that moment; its bound queues get nothing. A
fanout exchange declared here gives every queue that was bound here a copy, which waits there until a worker comes, and
is published on the channel for subscribers. What kombu's clients bound gets no copy, which nobody would read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from celeriac.errors import ConfigurationError, Unroutable
from celeriac.model.message import Message
from celeriac.model.routing import Queue, binding_matches
from celeriac_redis.keys import SEPARATOR, Keys
from celeriac_redis.link import Link

__all__ = ["Route", "Routes"]

_WILDCARDS: Final = {"*": r"[^\.]+", "#": ".*?"}
"""kombu's own, so that its clients match the same."""


class Route(Struct, frozen=True):
    """Where one message goes: onto these queues, and for subscribers of a fanout exchange onto a channel."""

    queues: tuple[str, ...]
    channel: bytes | None = None


class Routes:
    """Exchanges and bindings. Nothing is remembered: who declares is heard by the next who publishes."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def resolve(self, messages: Iterable[Message], timeout: float) -> dict[tuple[str, str], Route]:
        """Return the route of each pair of exchange and routing key that names an exchange, in one round trip.

        Raises: Unroutable: one of them reaches no queue.
        """
        wanted = list(dict.fromkeys((m.exchange, m.routing_key) for m in messages if m.exchange))
        commands: list[tuple[bytes | str, ...]] = []
        for exchange, _ in wanted:
            commands += (
                (b"HGET", self._keys.exchanges, exchange),
                (b"SMEMBERS", self._keys.bindings(exchange)),
                (b"SMEMBERS", self._keys.fanout(exchange)),
            )
        replies = self._link.pipeline(commands, timeout=timeout)
        return {
            address: self._route(*address, *replies[3 * number : 3 * number + 3])
            for number, address in enumerate(wanted)
        }

    def _route(self, exchange: str, key: str, type_: bytes | None, bound: list[bytes], copied: list[bytes]) -> Route:
        if type_ == b"fanout":
            queues, channel = {name.decode() for name in copied}, self._keys.channel(exchange, key)
        else:
            queues, channel = set(_matching(bound, key)), None
        if not queues:
            raise Unroutable(exchange, key)
        return Route(tuple(sorted(queues)), channel)

    def declare(self, queues: Sequence[Queue], timeout: float) -> None:
        """Write down queues, exchanges and bindings that are not there yet.

        Raises: ConfigurationError: an exchange exists with another type.
        """
        if not queues:
            return
        bound = [queue for queue in queues if queue.exchange is not None and queue.exchange.name]
        commands: list[tuple[bytes | str, ...]] = [(b"SADD", self._keys.queues, *[queue.name for queue in queues])]
        for queue in bound:
            exchange = queue.exchange
            if exchange is not None:
                commands += (
                    (b"HSETNX", self._keys.exchanges, exchange.name, exchange.type),
                    (b"HGET", self._keys.exchanges, exchange.name),
                )
        types = self._link.pipeline(commands, timeout=timeout)[2::2]
        commands = []
        for queue, type_ in zip(bound, types, strict=True):
            exchange = queue.exchange
            if exchange is None:
                continue
            if type_.decode() != exchange.type:
                raise ConfigurationError(
                    f"Queue {queue.name!r}: exchange {exchange.name!r} exists with type {type_.decode()!r}, not"
                    f" {exchange.type!r}. Use that type, or another name."
                )
            if exchange.type == "fanout":
                commands.append((b"SADD", self._keys.fanout(exchange.name), queue.name))
                continue
            member = SEPARATOR.join((queue.key, _pattern(queue.key) if exchange.type == "topic" else "", queue.name))
            commands.append((b"SADD", self._keys.bindings(exchange.name), member))
            commands.append((b"SADD", self._keys.permanent(exchange.name), member))
        self._link.pipeline(commands, timeout=timeout)


def _matching(bindings: Iterable[bytes], key: str) -> Iterable[str]:
    for binding in bindings:
        parts = binding.decode().split(SEPARATOR)
        if len(parts) == 3 and binding_matches("topic" if parts[1] else "direct", parts[0], key):
            yield parts[2]


def _pattern(key: str) -> str:
    """Return a topic pattern as the regular expression that kombu matches by."""
    return "^{}$".format(r"\.".join(_WILDCARDS.get(word) or re.escape(word) for word in key.split(".")))
