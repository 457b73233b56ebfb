"""Queues, exchanges and bindings: what this process declared, and so knows to exist."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from celeriac.errors import ConfigurationError
from celeriac.model.routing import Exchange, Queue, binding_matches
from celeriac_amqp.asking import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, Asking
from celeriac_amqp.delays import Ladder
from celeriac_amqp.failures import ChannelClosed

__all__ = ["Topology", "queue_arguments"]

logger: logging.Logger = logging.getLogger(__name__)

_NEW_SECONDS: Final = 10.0


def queue_arguments(queue: Queue, *, queue_type: str, max_priority: int) -> dict[str, Any]:
    """Return the arguments with which a queue is declared: those that Celery would give.

    `queue_type` and `max_priority` hold for a queue that does not say. Priorities are for classic queues; one that is
    not to last is always classic.
    """
    arguments = dict(queue.arguments)
    if queue.max_priority is not None:
        arguments.setdefault("x-max-priority", queue.max_priority)
    lasting = queue.durable and not queue.exclusive and not queue.auto_delete
    if queue_type == "quorum" and lasting and "x-max-priority" not in arguments:
        arguments.setdefault("x-queue-type", "quorum")
    if max_priority and arguments.get("x-queue-type", "classic") == "classic":
        arguments.setdefault("x-max-priority", max_priority)
    if queue.message_ttl_seconds is not None:
        arguments.setdefault("x-message-ttl", round(queue.message_ttl_seconds * 1000))
    if queue.expires_seconds is not None:
        arguments.setdefault("x-expires", round(queue.expires_seconds * 1000))
    return arguments


class Topology:
    """Declares over one connection, and remembers what it declared."""

    def __init__(self, asking: Asking, ladder: Ladder, *, queue_type: str, max_priority: int) -> None:
        self._asking = asking
        self._ladder = ladder
        self._queue_type = queue_type
        self._max_priority = max_priority
        self._lock = threading.Lock()
        self._queues: dict[str, Queue] = {}
        self._bindings: dict[str, set[tuple[str, str, str]]] = {}
        self._there: set[str] = set()
        self._declared: dict[str, float] = {}
        """When a quorum queue was declared here last."""

    @property
    def names(self) -> set[str]:
        """The queues that were declared or used here."""
        with self._lock:
            return set(self._there)

    def knows(self, queue: str) -> bool:
        """Whether a queue was declared over this connection."""
        return queue in self._there

    def is_new(self, queue: str, *, delayed: bool = False) -> bool:
        """Whether a quorum queue was declared here so lately that it may not take messages yet.

        `delayed`: also when it is the ladder that is new.
        """
        lately = monotonic() - _NEW_SECONDS
        return self._declared.get(queue, -inf) > lately or (delayed and self._ladder.made_at > lately)

    def declare(self, queues: Sequence[Queue], timeout: float) -> None:
        """Create queues with their exchanges and bindings. Raises: ConfigurationError."""
        end = monotonic() + timeout
        for queue in queues:
            arguments = queue_arguments(queue, queue_type=self._queue_type, max_priority=self._max_priority)
            self._declare_queue(queue, arguments, end)
            if arguments.get("x-queue-type") == "quorum":
                self._declared[queue.name] = monotonic()
            if queue.exchange is not None and queue.exchange.name:
                self._declare_binding(queue, queue.exchange, end)
                if queue.exchange.type != "direct" and arguments.get("x-queue-type") == "quorum":
                    # To these Celery's clients send what is delayed by the ladder, and leave that to workers to make.
                    self._ladder.make(end - monotonic())
                    self._ladder.bind(queue.name, queue.key, end - monotonic())
            with self._lock:
                self._queues[queue.name] = queue
                self._there.add(queue.name)

    def ensure(self, names: Collection[str], timeout: float) -> None:
        """Create the queues of these names that this process does not know to exist."""
        end = monotonic() + timeout
        for name in names:
            if name not in self._there:
                self.declare([self._queues.get(name) or Queue(name)], end - monotonic())

    def forget(self, name: str) -> None:
        """Create a queue anew when it is needed next: somebody deleted it."""
        with self._lock:
            known = name in self._there
            self._there.discard(name)
        if known:
            logger.warning(
                "the queue %s was deleted, with what was in it; it is declared again",
                name,
                extra={"event": "amqp_queue_deleted", "queue": name},
            )
        self._ladder.forget()

    def ensure_delayed(self, queue: str, timeout: float) -> None:
        """Make a queue, and the ladder with its end bound to it."""
        end = monotonic() + timeout
        self.ensure([queue], timeout)
        self._ladder.make(end - monotonic())
        self._ladder.bind(queue, queue, end - monotonic())

    def reached(self, exchange: str, routing_key: str) -> list[str]:
        """Return the queues that were declared here and get what is published so, by name."""
        with self._lock:
            bindings = list(self._bindings.get(exchange, ()))
        return sorted({queue for queue, type_, key in bindings if binding_matches(type_, key, routing_key)})

    def _declare_queue(self, queue: Queue, arguments: dict[str, Any], end: float) -> None:
        step: dict[str, Any] = {
            "queue": queue.name,
            "durable": queue.durable,
            "exclusive": queue.exclusive,
            "auto_delete": queue.auto_delete,
            "arguments": arguments,
        }
        try:
            self._asking.run(lambda channel: channel.queue_declare(**step), end - monotonic())
        except ChannelClosed as error:
            self._declare_refused("queue", queue.name, error, end)

    def _declare_binding(self, queue: Queue, exchange: Exchange, end: float) -> None:
        step: dict[str, Any] = {
            "exchange": exchange.name,
            "type": exchange.type,
            "durable": exchange.durable,
            "auto_delete": False,
        }
        try:
            self._asking.run(lambda channel: channel.exchange_declare(**step), end - monotonic())
        except ChannelClosed as error:
            self._declare_refused("exchange", exchange.name, error, end)
        bind = {"queue": queue.name, "exchange": exchange.name, "routing_key": queue.key}
        self._asking.each([("queue_bind", bind)], end - monotonic())
        with self._lock:
            self._bindings.setdefault(exchange.name, set()).add((queue.name, exchange.type, queue.key))

    def _declare_refused(self, what: str, name: str, error: ChannelClosed, end: float) -> None:
        if error.code == PRECONDITION_FAILED:
            raise ConfigurationError(_difference(what, name, error.reason)) from error
        if error.code != ACCESS_REFUSED:
            raise ConfigurationError(f"The {what} {name!r} cannot be declared: {error.reason}.") from error
        # A user who may not declare may use what is there.
        try:
            self._asking.run(
                lambda channel: (
                    channel.queue_declare(name, passive=True)
                    if what == "queue"
                    else channel.exchange_declare(name, "direct", passive=True)
                ),
                end - monotonic(),
            )
        except ChannelClosed as missing:
            if missing.code != NOT_FOUND:
                raise ConfigurationError(f"The {what} {name!r} cannot be used: {missing.reason}.") from missing
            raise ConfigurationError(
                f"The {what} {name!r} does not exist, and this user may not declare it: {error.reason}."
                f" Declare it as another user, or give this one the right to configure it."
            ) from error


def _difference(what: str, name: str, reason: str) -> str:
    """Say what a declaration and that which exists differ in. RabbitMQ names the argument and both values."""
    fix = f"Declare it in the same way, or delete the {what} (rabbitmqctl delete_queue {name!r}) and start again."
    if what == "exchange":
        fix = "Declare it with the same type, or delete the exchange and start again."
    elif "x-queue-type" in reason:
        fix = f"Set the option `queue_type` in `broker_transport_options` to the type it has, or delete it first: {fix}"
    elif "x-max-priority" in reason:
        fix = f"Set `task_queue_max_priority` to what it has, or delete it first: {fix}"
    return f"The {what} {name!r} exists with other properties: {reason}. {fix}"
