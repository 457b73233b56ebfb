"""One connection of kombu and its channel, as one thread uses them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from celeriac.errors import CeleriacError, ConfigurationError, EncodeError, Unroutable
from celeriac.model.message import Message
from celeriac.model.routing import Exchange, Queue
from celeriac_kombu import exchanges
from celeriac_kombu.messages import Outgoing, copy_of, incoming, was_redelivered
from celeriac_kombu.target import Target

__all__ = ["Link", "Taken"]

logger: logging.Logger = logging.getLogger(__name__)

_TAKE_SECONDS: Final = 0.25
"""How long one look goes on for more when it has something."""
_RESTORE_SECONDS: Final = 10.0
"""How often messages that nobody acknowledged in time are looked for, where that is left to the clients."""
_CONFLICT: Final = 406
"""AMQP's number for something that exists otherwise."""

Taken = tuple[Any, str, Message, int]
"""A message as kombu has it, its queue, the message, and how often it was taken before."""


class Link:
    """Every method is called by the thread of the link's lane. What they raise beside CeleriacErrors ends the link."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._kind = target.kind
        self._connection: Any = None
        self._channel: Any = None
        self._known: set[str] = set()
        self._returned: list[tuple[str, str]] = []
        self._next_restore = 0.0

    def open(self) -> None:
        """Connect."""
        self._connection = self.target.connection()
        self._connection.connect()
        if self.target.virtual:
            exchanges.share_state(self._connection.transport, self.target.key)
        self._channel = self._connection.channel()
        if self.target.virtual:
            # What is held is given back by copies that tell how often they were taken; kombu's would not.
            self._channel.do_restore = False
            exchanges.make_exact(self._channel)
        else:
            self._channel.events["basic_return"].add(self._on_return)

    def close(self) -> None:
        """Disconnect."""
        session = getattr(self._channel, "_session", None)
        with suppress(Exception):
            if session is not None:
                session.close()  # kombu leaves it open, and its transaction with it
        with suppress(Exception):
            if self._connection is not None:
                self._connection.release()

    # -- queues ------------------------------------------------------------------------------------

    def declare(self, queues: Sequence[Queue]) -> None:
        """Create queues, exchanges and bindings.

        Raises: ConfigurationError: one exists with other properties.
        """
        for queue in queues:
            with _Conflicts(f"Queue {queue.name!r}"):
                self._declare_queue(queue)
            if queue.exchange is not None and queue.exchange.name:
                self._bind(queue, queue.exchange)

    def _declare_queue(self, queue: Queue) -> None:
        arguments = dict(queue.arguments)
        for name, value, scale in (
            ("x-max-priority", queue.max_priority, 1),
            ("x-message-ttl", queue.message_ttl_seconds, 1000),
            ("x-expires", queue.expires_seconds, 1000),
        ):
            if value is not None:
                arguments[name] = int(value * scale)
        self._channel.queue_declare(
            queue=self._kind.queue_name(queue.name),
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            arguments=arguments or None,
        )
        self._known.add(queue.name)

    def _bind(self, queue: Queue, exchange: Exchange) -> None:
        name = self._kind.exchange_name(exchange.name)
        with _Conflicts(f"Exchange {exchange.name!r}"):
            self._channel.exchange_declare(
                exchange=name, type=exchange.type, durable=exchange.durable, auto_delete=False
            )
        queue_name = self._kind.queue_name(queue.name)
        if self.target.virtual and self._channel.supports_fanout:
            # The broker may have been emptied since this process declared it.
            self._channel.state.binding_delete(queue_name, name, queue.key)
        self._channel.queue_bind(queue=queue_name, exchange=name, routing_key=queue.key)

    def _ensure(self, name: str) -> None:
        """Create a queue that nobody declared here."""
        if name not in self._known:
            self.declare([Queue(name)])

    # -- messages ----------------------------------------------------------------------------------

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish one after the other; on virtual transports none of them if one reaches no queue.

        Raises: Unroutable: no queue is bound for one. EncodeError: a header or property of one cannot be written.
        """
        for each in messages:
            if each.exchange and self.target.virtual and not self._reaches(each):
                raise Unroutable(each.message.exchange, each.message.routing_key)
        for each in messages:
            if not each.exchange:
                self._ensure_named(each.routing_key)
            self._send(each)

    def _ensure_named(self, wire_name: str) -> None:
        if wire_name not in self._known:
            self._channel.queue_declare(
                queue=wire_name, durable=True, exclusive=False, auto_delete=False, arguments=None
            )
            self._known.add(wire_name)

    def _reaches(self, message: Outgoing) -> bool:
        try:
            table = self._channel.get_table(message.exchange)
        except KeyError:
            return False
        kind = self._channel.typeof(message.exchange)
        return bool(kind.lookup(table, message.exchange, message.routing_key, None))

    def _send(self, outgoing: Outgoing) -> None:
        message = outgoing.message
        try:
            prepared = self._channel.prepare_message(
                message.body,
                priority=message.priority,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers={**message.headers, **outgoing.headers},
                properties=dict(message.properties),
            )
            options = {} if self.target.virtual else {"mandatory": True}
            self._channel.basic_publish(prepared, outgoing.exchange, outgoing.routing_key, **options)
        except (TypeError, ValueError) as error:
            raise EncodeError(f"The headers or properties of a message cannot be written: {error}.") from error
        if self._returned:
            exchange, key = self._returned.pop()
            self._returned.clear()
            self._known.discard(key)
            raise Unroutable(exchange, key)

    def _on_return(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self._returned.append((exchange, routing_key))

    def take(self, queues: Sequence[str], limit: int) -> list[Taken]:
        """Take up to `limit` messages that wait, earlier queues first, without waiting for any."""
        self._restore()
        taken: list[Taken] = []
        end = time.monotonic() + _TAKE_SECONDS
        try:
            for queue in queues:
                self._ensure(queue)
                while len(taken) < limit and (not taken or time.monotonic() < end):
                    raw = self._channel.basic_get(self._kind.queue_name(queue), no_ack=False)
                    if raw is None:
                        break
                    self._sort_in(raw, queue, taken)
        except CeleriacError:
            raise
        except Exception:
            if not taken:
                raise
            # The next look meets the error again; what is here must not be lost for it.
            logger.warning("a look for messages broke off", exc_info=True, extra={"event": "look_broke_off"})
        return taken

    def _sort_in(self, raw: Any, queue: str, taken: list[Taken]) -> None:
        raw = raw if hasattr(raw, "delivery_info") and hasattr(raw, "headers") else self._channel.message_to_python(raw)
        message, before = incoming(raw, queue)
        if was_redelivered(raw):
            # Somebody had it and was lost. The broker only says so, and would say no more a second time.
            self.publish([copy_of(message, queue, before + 1, self._kind)])
            self._channel.basic_ack(raw.delivery_tag)
        else:
            taken.append((raw, queue, message, before))

    def _restore(self) -> None:
        now = time.monotonic()
        if self.target.virtual and now >= self._next_restore:
            self._next_restore = now + _RESTORE_SECONDS
            self._channel.qos.restore_visible(interval=1)

    def acknowledge(self, held: Sequence[Any]) -> None:
        """Acknowledge messages as kombu has them."""
        for raw in held:
            self._channel.basic_ack(raw.delivery_tag)


class _Conflicts:
    """Turns what kombu raises about something that exists otherwise into a ConfigurationError."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if type(error).__name__ == "NotEquivalentError" or getattr(error, "reply_code", None) == _CONFLICT:
            raise ConfigurationError(
                f"{self._what} exists with other properties: {error}. Delete it in the broker, or declare it the same."
            ) from error
