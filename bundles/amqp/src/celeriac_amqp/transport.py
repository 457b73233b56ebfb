"""The transport: queues, exchanges and messages where Celery has them, on classic and quorum queues."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, ClassVar, Final

from celeriac.errors import DeadlineExceeded, InvalidSetting, StoreError, StoreFull, TransportLost, Unsupported
from celeriac.kernel import plugins
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.routing import Queue
from celeriac.spi.service import Context
from celeriac.spi.transport import Declares, Inspects, KeepsLetters, Letter, LetterKind, QueueDepth, Transport
from celeriac_amqp import failures
from celeriac_amqp.asking import Asking
from celeriac_amqp.codec import PYTHON, Codec
from celeriac_amqp.consumer import Consumer
from celeriac_amqp.delays import Ladder
from celeriac_amqp.failures import ChannelClosed, LinkLost, QueueMissing
from celeriac_amqp.frames import Incoming, Outgoing
from celeriac_amqp.hold import Hold
from celeriac_amqp.inspection import Inspection
from celeriac_amqp.letters import Letters, undecodable
from celeriac_amqp.link import Link
from celeriac_amqp.location import Location, locate
from celeriac_amqp.long_runs import LongRuns
from celeriac_amqp.messages import DELIVERIES, read, write
from celeriac_amqp.plugin import TRANSPORT_CAPABILITIES, TRANSPORT_OPTIONS
from celeriac_amqp.publication import Publication
from celeriac_amqp.settlement import Settlement
from celeriac_amqp.topology import Topology

__all__ = ["AmqpTransport"]

logger: logging.Logger = logging.getLogger(__name__)

_ANSWER_SECONDS: Final = 15.0
"""How long a declaration or a copy may take, however short the time-out of `receive`: a poll may be 0."""
_CLOSE_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 5.0
"""How long copies may take, and how long to wait where RabbitMQ took none."""
_SURPLUS_SECONDS: Final = 1.0
"""After how long without a `receive` what was pushed goes back, so that others can have it."""
_OVERLOOKED_SECONDS: Final = 5.0
"""After how long it goes back where each `receive` had enough from other queues."""


class AmqpTransport(Transport, Declares, Inspects, KeepsLetters):
    """A connection to a broker in RabbitMQ: one for taking and acknowledging, one for publishing.

    Receiving:
    1. The server pushes messages for each queue, as many as were asked for.
    2. One that cannot be read becomes a dead letter. One that a classic queue gives out again gets a copy that says how
       often it was taken, since the queue itself would only say that it was.
    3. What was pushed and not asked for within a second goes back as a copy, and the queue is consumed no more.

    Source: docs/explanation/rabbitmq.md
    """

    capabilities = TRANSPORT_CAPABILITIES
    options = TRANSPORT_OPTIONS
    codec: ClassVar[Codec] = PYTHON
    driver_errors: ClassVar[tuple[type[BaseException], ...]] = (LinkLost, ChannelClosed, QueueMissing)

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self._check_options()
        self.location: Location = locate(address, self.option)
        self._link = Link(self.location, name=f"celeriac {context.holder} takes", codec=self.codec)
        asking = Asking(self._link)
        ladder = Ladder(asking, self.option["native_delayed_delivery_queue_type"])
        queue_type, max_priority = self.option["queue_type"], self.option["queue_max_priority"]
        self._topology = Topology(asking, ladder, queue_type=queue_type, max_priority=max_priority)
        self._consumer = Consumer(self._link, missing=self._make_again)
        self._publication = self._another_publication()
        self._letters = Letters(asking, self._topology, self._connect, self._publication.send, queue_type)
        self._hold = Hold(ages=self.option["hold_seconds"] > 0)
        self._long_runs = LongRuns(
            self._link,
            self._hold,
            self._publication,
            self._consumer.ack,
            another=self._another_publication,
            seconds=self.option["hold_seconds"],
            queue_type=self.option["native_delayed_delivery_queue_type"],
        )
        self._settlement = Settlement(
            self._publication,
            self._topology,
            self._hold,
            self._long_runs.ack,
            alive=self._long_runs.alive,
            clock=self.clock,
            prepare=self._letters.prepare,
        )
        self._inspection = Inspection(
            asking,
            self._topology,
            lambda: (self._hold.counts(), self._consumer.waiting()),
            management_url=self.option["management_url"],
            virtual_host=self.location.virtual_host,
        )
        self._receiving = threading.Lock()
        self._uncopied: dict[int, Incoming] = {}
        self._copied = monotonic()
        self._received = monotonic()
        self._heads: dict[str, tuple[object, float]] = {}
        self._closing = threading.Event()
        self._opened = False
        self._ended = False
        self._watch: threading.Thread | None = None

    def _check_options(self) -> None:
        for name in ("queue_type", "native_delayed_delivery_queue_type"):
            if self.option[name] not in ("classic", "quorum"):
                raise InvalidSetting(name, self.option[name], "classic or quorum", source=self.address.scheme)
        if self.option["hold_seconds"] < 0:
            raise InvalidSetting("hold_seconds", self.option["hold_seconds"], "0 or more", source=self.address.scheme)
        if not 0 <= self.option["queue_max_priority"] <= 255:
            raise InvalidSetting(
                "queue_max_priority", self.option["queue_max_priority"], "from 0 to 255", source=self.address.scheme
            )
        if not self.option["confirm_publish"]:
            raise InvalidSetting(
                "confirm_publish", False, "true: without confirms, messages are lost", source=self.address.scheme
            )

    @contextmanager
    def _call(self, method: str) -> Iterator[None]:
        begun = monotonic()
        with super()._call(method):
            try:
                yield
            except failures.DeadlineExceeded as error:
                raise DeadlineExceeded(f"{self.address} at {method}: {error};", monotonic() - begun) from error

    def _another_publication(self) -> Publication:
        return Publication(self._connect, self._topology, self.clock)

    def _connect(self, timeout: float) -> Link:
        """Return another open connection."""
        if self._ended:
            raise TransportLost(f"{self.address}: the connection was closed")
        link = Link(self.location, name=f"celeriac {self.context.holder} publishes", codec=self.codec)
        try:
            link.open(max(timeout, 0.0))
        except BaseException:
            link.close()
            raise
        return link

    def _open(self, timeout: float) -> None:
        self._link.open(timeout)
        self._opened = True

    def _close(self) -> None:
        """Disconnect. What is held, the broker gives to others; what was pushed only, goes back uncounted before."""
        first = not self._closing.is_set()
        self._closing.set()
        if first and self._opened:
            self._consumer.wake()
            end = monotonic() + _CLOSE_SECONDS
            if self._receiving.acquire(timeout=_CLOSE_SECONDS):
                try:
                    self._hand_back(end)
                finally:
                    self._receiving.release()
            self._long_runs.close(max(end - monotonic(), 0.1))
        self._ended = True
        self._publication.close()
        self._link.close()

    # -- publishing, receiving, settling -----------------------------------------------------------------

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        self._publication.publish(messages, timeout)

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        end = monotonic() + timeout
        if not self._receiving.acquire(timeout=max(timeout, 0.0)):
            return []
        try:
            self._check_open()
            while True:
                taken = self._consumer.take(queues, limit=limit, timeout=max(end - monotonic(), 0.0))
                found = self._sorted(taken)
                self._replace_uncopied()
                if found or not taken:
                    return found
        finally:
            self._received = monotonic()
            self._receiving.release()

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        if self._link.lost:
            # What was held is at its queue again; a copy of it would be one too many.
            raise TransportLost(f"{self.address}: the connection broke, and what was held has gone back")
        return self._settlement.settle(verdicts, timeout)

    def _wake(self) -> None:
        self._consumer.wake()

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise TransportLost(f"{self.address}: the connection was closed")
        if self._watch is None:
            self._watch = threading.Thread(target=self._return_surplus, name="celeriac-amqp-surplus", daemon=True)
            self._watch.start()
            self._long_runs.start()

    def _make_again(self, queue: str) -> None:
        """Declare a queue that is to be consumed and is not there."""
        self._topology.forget(queue)
        self._topology.ensure([queue], _ANSWER_SECONDS)

    def _sorted(self, taken: Sequence[Incoming]) -> list[Delivery]:
        """Return what can be handed out; make copies of the rest."""
        found: list[Delivery] = []
        for incoming in taken:
            if incoming.malformed is None:
                reading = read(incoming)
                if not reading.uncounted:
                    found.append(
                        Delivery(
                            message=reading.message,
                            queue=incoming.queue,
                            tag=self._hold.tag(incoming.tag),
                            deliveries=reading.before + 1,
                        )
                    )
                    continue
            self._uncopied[incoming.tag] = incoming
            self._copied = 0.0
        self._hold.add(found)
        return found

    def _replace_uncopied(self) -> None:
        """Put copies in the place of what cannot be handed out; if RabbitMQ takes none now, try again later."""
        if self._uncopied and monotonic() - self._copied > _AGAIN_SECONDS:
            self._copied = monotonic()
            try:
                copies = [self._copy(each) for each in self._uncopied.values()]
                self._exchange(copies, self._uncopied, monotonic() + _AGAIN_SECONDS)
            except (StoreFull, DeadlineExceeded, failures.DeadlineExceeded) as error:
                logger.warning("redelivered messages stay held: %s", error, extra={"event": "uncopied"})
            else:
                self._uncopied.clear()

    def _copy(self, incoming: Incoming) -> Outgoing:
        """Return the copy of a delivery nobody has seen: with its count, or as a dead letter."""
        if incoming.malformed is not None:
            self._letters.prepare(_ANSWER_SECONDS)
            logger.error(
                "a message of queue %s is no message: %s",
                incoming.queue,
                incoming.malformed,
                extra={"event": "undecodable", "queue": incoming.queue},
            )
            return undecodable(incoming, f"cannot be decoded: {incoming.malformed}", self.clock.time())
        reading = read(incoming)
        before = reading.before + reading.uncounted
        own: Mapping[str, Any] = {DELIVERIES: before} if before else {}
        return write(reading.message, exchange="", routing_key=incoming.queue, own=own, copy=True)

    def _exchange(self, copies: Sequence[Outgoing], tags: Collection[int], end: float) -> None:
        """Put copies in the place of what was delivered."""
        self._publication.send(copies, end)
        self._consumer.ack(tags)

    def _hand_back(self, end: float, queues: Collection[str] | None = None) -> None:
        """Return what was pushed and not asked for; what cannot be returned so, the broker returns in the end."""
        try:
            surplus = self._consumer.surplus(queues)
            if surplus:
                self._exchange([self._copy(each) for each in surplus], [each.tag for each in surplus], end)
        except (StoreError, LinkLost, ChannelClosed, failures.DeadlineExceeded) as error:
            logger.debug("not handed back: %s", error, extra={"event": "not_handed_back"})

    def _overlooked(self) -> list[str]:
        """Return the queues that pushed what no `receive` takes, since earlier ones have enough; to be asked often."""
        now, before = monotonic(), self._heads
        self._heads = {
            queue: before[queue] if queue in before and before[queue][0] is head else (head, now)
            for queue, head in self._consumer.heads().items()
        }
        return [queue for queue, (_, since) in self._heads.items() if now - since > _OVERLOOKED_SECONDS]

    def _return_surplus(self) -> None:
        while not self._closing.wait(_SURPLUS_SECONDS / 2):
            overlooked = self._overlooked()
            if self._receiving.acquire(timeout=_SURPLUS_SECONDS / 2 if overlooked else 0.0):
                try:
                    idle = monotonic() - self._received
                    if idle > _SURPLUS_SECONDS and any(self._consumer.waiting().values()):
                        self._hand_back(monotonic() + _ANSWER_SECONDS)
                    elif overlooked:
                        self._hand_back(monotonic() + _AGAIN_SECONDS, overlooked)
                except LinkLost:
                    return  # it has gone back already; whoever receives is told
                finally:
                    self._receiving.release()

    # -- the optional interfaces ---------------------------------------------------------------------------

    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        with self._call("declare"):
            self._topology.declare(queues, timeout)

    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        with self._call("depths"):
            return self._inspection.depths(queues, timeout)

    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        """Refuse: RabbitMQ shows a message only to who takes it, and counts that."""
        able = [
            info.name
            for info in plugins.installed("transport")
            if info.declaration is not None and info.declaration.capabilities.browses
        ]
        raise Unsupported("showing messages without taking them", f"The {self.address.scheme} transport", able)

    def purge(self, queue: str, *, timeout: float) -> int:
        with self._call("purge"):
            return self._purge(queue, timeout)

    def _purge(self, queue: str, timeout: float) -> int:
        end = monotonic() + timeout
        pushed = 0
        if self._consumer.waiting().get(queue) and self._receiving.acquire(timeout=max(timeout, 0.0)):
            try:
                found = self._consumer.surplus([queue])
                self._consumer.ack([each.tag for each in found])
                pushed = len(found)
            finally:
                self._receiving.release()
        return pushed + self._inspection.purge(queue, end - monotonic())

    def letters(
        self, kind: LetterKind | None = None, *, limit: int, after: str | None = None, timeout: float
    ) -> list[Letter]:
        with self._call("letters"):
            return self._letters.page(kind, limit, after, timeout)

    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        with self._call("replay"):
            return self._letters.replay(ids, timeout)

    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        with self._call("discard"):
            return self._letters.discard(ids, timeout)
