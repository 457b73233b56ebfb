"""Publishing: to queues that are made on the way, to exchanges, and to the ladder of delays.

1. What goes to a queue by its name, goes there directly; the queue is declared first, once per connection.
2. What goes to an exchange goes there. One message of each kind that is not known to reach a queue goes ahead of the
   batch, so that nothing of the batch is published if that comes back.
3. What is not due yet goes to the ladder, one copy for each queue that it is for.
4. All of it is one write and one wait for the confirms.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, TypeVar

from celeriac.errors import ConfigurationError, DeadlineExceeded, EncodeError, StoreFull, TransportLost, Unroutable
from celeriac.kernel.clock import Clock
from celeriac.model.message import Message
from celeriac_amqp import failures
from celeriac_amqp.asking import ACCESS_REFUSED, NOT_FOUND
from celeriac_amqp.delays import ENTRY_EXCHANGE, delay_key
from celeriac_amqp.failures import ChannelClosed, Nacked
from celeriac_amqp.frames import Outgoing
from celeriac_amqp.link import Link
from celeriac_amqp.messages import write
from celeriac_amqp.publisher import Publisher
from celeriac_amqp.tables import BadTable
from celeriac_amqp.topology import Topology

__all__ = ["Publication"]

T = TypeVar("T")

_RIGHTS: Final = (
    "Give the user the right to write there: rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ."
)

_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the tries to publish to a quorum queue that another connection is making: RabbitMQ answers who
declares it second at once, and refuses messages until it is made."""


class Publication:
    """Publishes over a connection of its own, opened with the first message: RabbitMQ stops who publishes too much."""

    def __init__(self, connect: Callable[[float], Link], topology: Topology, clock: Clock) -> None:
        self._connect = connect
        self._topology = topology
        self._clock = clock
        self._opening = threading.Lock()
        self._link: Link | None = None
        self._publisher: Publisher | None = None
        self._closed = False
        self._reaching: set[tuple[str, str]] = set()
        """Exchanges and keys of which a message has reached a queue."""

    def close(self) -> None:
        """Disconnect; may be called again."""
        with self._opening:
            self._closed = True
            if self._link is not None:
                self._link.close()

    def publish(self, messages: Sequence[Message], timeout: float) -> None:
        """Publish all messages or none. Raises: as `Transport.publish`."""
        end = monotonic() + timeout
        first = messages[0]
        out: list[Outgoing] = []
        for message in messages:
            if message.due is not None and (delay := message.due - self._clock.time()) > 0:
                out += self.delayed(message, delay, end)
            else:
                if not message.exchange and not self._topology.knows(message.routing_key):
                    self._topology.ensure([message.routing_key], end - monotonic())
                out.append(write(message))
        if first.exchange or any(each.exchange for each in out):
            out = self._try_exchanges(out, end)
        self.send(out, end)

    def delayed(self, message: Message, delay: float, end: float) -> list[Outgoing]:
        """Return the copies of a message that wait in the ladder, one for each queue that is to get it."""
        queues = [message.routing_key]
        if message.exchange:
            queues = self._topology.reached(message.exchange, message.routing_key)
            if not queues:
                raise Unroutable(message.exchange, message.routing_key)
        return [self.to_ladder(message, queue, delay, end) for queue in queues]

    def to_ladder(self, message: Message, queue: str, delay: float, end: float, **fields: object) -> Outgoing:
        """Return a copy of a message that comes to `queue` after `delay` seconds."""
        self._topology.ensure_delayed(queue, end - monotonic())
        key = delay_key(delay, queue)
        return write(message, exchange=ENTRY_EXCHANGE, routing_key=key, **fields)  # type: ignore[arg-type]

    def _try_exchanges(self, out: list[Outgoing], end: float) -> list[Outgoing]:
        """Send one of each kind that may reach nothing; return the rest."""
        ahead: dict[tuple[str, str], int] = {}
        for index, each in enumerate(out):
            kind = (each.exchange, each.routing_key)
            if each.exchange not in ("", ENTRY_EXCHANGE) and kind not in self._reaching:
                ahead.setdefault(kind, index)
        # Those that no queue declared here is bound for come first: they are the likeliest to come back.
        for kind, index in sorted(ahead.items(), key=lambda item: bool(self._topology.reached(*item[0]))):
            self.send([out[index]], end)
            self._reaching.add(kind)
        return [each for index, each in enumerate(out) if index not in set(ahead.values())]

    def send(self, out: Sequence[Outgoing], end: float) -> None:
        """Publish what is written, and wait until RabbitMQ has it; a queue that was deleted is made again."""
        for last in (False, True):
            if not out:
                return
            returned = self._taken(out, end)
            if not returned:
                return
            for each in returned:
                if last or each.exchange not in ("", ENTRY_EXCHANGE):
                    self._reaching.discard((each.exchange, each.routing_key))
                    raise Unroutable(each.exchange, each.routing_key)
            self._make_again(returned, end)
            out = returned

    def _taken(self, out: Sequence[Outgoing], end: float) -> list[Outgoing]:
        """Publish, and return what came back. What a queue refuses while it is being made is published again."""
        returned: list[Outgoing] = []
        for pause in (*_PAUSES, None):
            try:
                return returned + [out[index] for index in self._confirmed(out, end)]
            except Nacked as error:
                returned += [out[index] for index in error.unroutable]
                left = [out[index] for index in error.indexes]
                if pause is None or monotonic() + pause > end or not all(map(self._is_new, left)):
                    raise StoreFull(f"{error}. Consume or purge the queue, or raise its limit.") from error
                out = left
            self._clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
        return returned

    def _is_new(self, refused: Outgoing) -> bool:
        """Whether a message was for a queue that somebody else may be making just now."""
        if refused.exchange == ENTRY_EXCHANGE:
            return self._topology.is_new(_queue_of(refused.routing_key), delayed=True)
        return not refused.exchange and self._topology.is_new(refused.routing_key)

    def _make_again(self, returned: Sequence[Outgoing], end: float) -> None:
        for each in returned:
            if each.exchange:
                self._topology.forget(each.routing_key)
                self._topology.ensure_delayed(_queue_of(each.routing_key), end - monotonic())
            else:
                self._topology.forget(each.routing_key)
        self._topology.ensure({each.routing_key for each in returned if not each.exchange}, end - monotonic())

    def _confirmed(self, out: Sequence[Outgoing], end: float) -> list[int]:
        publisher = self._opened(end)
        left = max(end - monotonic(), 0.0)
        try:
            return publisher.publish(out, mandatory=True, timeout=left)
        except BadTable as error:
            raise EncodeError(f"The headers of a message cannot be written for RabbitMQ: {error}.") from error
        except failures.DeadlineExceeded as error:
            raise _late(error, left) from error
        except ChannelClosed as error:
            if error.code == NOT_FOUND and len({each.exchange for each in out}) == 1:
                raise Unroutable(out[0].exchange, out[0].routing_key) from error
            if error.code == NOT_FOUND:
                raise TransportLost(f"an exchange is gone: {error.reason}") from error
            fix = f" {_RIGHTS}" if error.code == ACCESS_REFUSED else ""
            raise ConfigurationError(f"RabbitMQ refused a message: {error.reason}.{fix}") from error

    def _opened(self, end: float) -> Publisher:
        publisher = self._publisher
        if publisher is None:
            with self._opening:
                if self._closed:
                    raise TransportLost("the connection was closed")
                publisher = self._publisher
                if publisher is None:
                    self._link = self._connect(end - monotonic())
                    publisher = self._publisher = Publisher(self._link)
        return publisher


def _queue_of(key: str) -> str:
    return key.split(".", 28)[-1]


def _late(error: failures.DeadlineExceeded, seconds: float) -> Exception:
    if error.sent:
        return TransportLost(f"whether a message was accepted is not known: {error}")
    return DeadlineExceeded(str(error), seconds)
