"""Holding messages for hours: in a queue of this connection's own, and never one delivery for long.

RabbitMQ closes a channel on which a delivery stays unacknowledged for longer than its `consumer_timeout`, and gives all
that was held on it to others. So a delivery that is held for `hold_seconds` is exchanged for a younger one:

1. A copy goes to the exchange `celeriac.held.<id>`, which gives it to the queue of that name, and is confirmed. Nobody
   consumes that queue but this connection, which takes the copy at once and holds it.
2. The first delivery is acknowledged; so it takes no place in the window of its queue any more.
3. After the same time, the copy is exchanged for another one in the same way.
4. The verdict acknowledges the copy that is held then.

If this connection ends, in whatever way, RabbitMQ returns what was held to the held queue, and finds that its time to
live, of a few seconds, is over: as a dead letter with the routing key that it has, the message goes back to the queue
that it came from, with its count in a header. What is held does not age, so nothing else has to be renewed, and what
ends the hold is what ends every hold of a connection: its end, or silence for twice its heartbeat.

Between 1 and 2 there are two of a message; a kill there doubles it. It is never lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any, Final

from celeriac.errors import CeleriacError, EncodeError
from celeriac.model.message import Delivery
from celeriac_amqp.asking import Asking
from celeriac_amqp.consumer import Consumer
from celeriac_amqp.failures import ChannelClosed, DeadlineExceeded, LinkLost, QueueMissing
from celeriac_amqp.frames import Incoming, Outgoing
from celeriac_amqp.hold import Claim, Hold
from celeriac_amqp.link import Link
from celeriac_amqp.messages import DELIVERIES, HELD, write
from celeriac_amqp.publication import Publication
from celeriac_amqp.timeouts import TIMEOUTS

__all__ = ["PREFIX", "LongRuns"]

logger: logging.Logger = logging.getLogger(__name__)

PREFIX: Final = "celeriac.held."
_UNUSED_SECONDS: Final = 3600.0
"""After how long without its connection the queue is deleted; what was in it has gone back long before."""
_MOVE_SECONDS: Final = 10.0
_AT_ONCE: Final = 100
_SHARE: Final = 8
"""How often to look within `hold_seconds`."""
_LONGEST_PAUSE_SECONDS: Final = 3.0
_WARN_SECONDS: Final = 60.0


class LongRuns:
    """Moves what is held for long, in a thread of its own. `acknowledge(tags)` does so where it came from.

    `seconds`: after how long; 0 is never. `another()` returns a publication of its own, for when the shared one's
    connection has broken and that which takes lives on.
    """

    live_seconds: float = 5.0
    """How long a copy waits to be taken. After a kill, what was moved within that time returns when it is over."""

    def __init__(
        self,
        link: Link,
        hold: Hold,
        publication: Publication,
        acknowledge: Callable[[Collection[int]], None],
        *,
        another: Callable[[], Publication],
        seconds: float,
        queue_type: str,
    ) -> None:
        self.name: str = PREFIX + hold.name
        self._link = link
        self._hold = hold
        self._shared = self._publication = publication
        self._acknowledge = acknowledge
        self._another = another
        self._seconds = seconds
        self._queue_type = queue_type
        self._asking = Asking(link)
        self._consumer: Consumer | None = None
        self._unwritable: set[int] = set()
        self._warned = -_WARN_SECONDS
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def seconds(self) -> float:
        """After how long a delivery is exchanged: as was asked for, or half of what the server was found to allow."""
        known = TIMEOUTS.known(self._link.location)
        return self._seconds if known is None else min(self._seconds, known / 2)

    def start(self) -> None:
        """Look after what is held from now on; may be called again."""
        if self._thread is None and self._seconds > 0:
            self._thread = threading.Thread(target=self._run, name="celeriac-amqp-hold", daemon=True)
            self._thread.start()

    def close(self, timeout: float) -> None:
        """Move nothing any more. What is held returns as the connection ends, which is for the caller to do."""
        self._ending.set()
        if self._consumer is not None:
            self._consumer.wake()
        if self._thread is not None:
            self._thread.join(timeout)
        if self._publication is not self._shared:
            self._publication.close()
        if self._consumer is not None and not self._hold.moved():
            # What is held does not keep a queue from counting as empty, hence only when there is nothing.
            self._consumer.close()
            try:
                self._asking.run(lambda channel: channel.queue_delete(self.name, if_unused=True), timeout)
            except (LinkLost, ChannelClosed, DeadlineExceeded) as error:
                logger.debug("%s stays until it expires: %s", self.name, error, extra={"event": "held_queue_stays"})

    def ack(self, claims: Collection[Claim]) -> None:
        """Acknowledge what is settled, wherever it lies. Raises: LinkLost."""
        self._acknowledge([claim.number for claim in claims if claim.moved is None])
        moved = [claim.moved for claim in claims if claim.moved is not None]
        if moved and self._consumer is not None:
            self._consumer.ack(moved)
            self._hold.forget(claims)

    def alive(self, timeout: float) -> None:
        """Have the server answer over this connection, after it has read all that was sent before.

        Raises: LinkLost: it has ended, and what was held has returned. DeadlineExceeded.
        """
        self._asking.run(lambda channel: channel.basic_qos(0, 1, False), timeout)

    def _run(self) -> None:
        while not self._ending.wait(min(self.seconds / _SHARE, _LONGEST_PAUSE_SECONDS)) and not self._link.lost:
            try:
                self.move(monotonic() + _MOVE_SECONDS)
            except (LinkLost, QueueMissing, ChannelClosed, DeadlineExceeded, CeleriacError) as error:
                self._warn(error)
            except Exception:  # what runs on must not lose its keeper
                logger.exception("what is held for long could not be moved", extra={"event": "not_moved"})

    def _warn(self, error: Exception) -> None:
        now = monotonic()
        if now - self._warned > _WARN_SECONDS and not self._link.lost and not self._ending.is_set():
            self._warned = now
            logger.warning(
                "what is held for long could not be moved, and returns when the server's `consumer_timeout` is over: "
                "%s; this is tried again",
                error,
                extra={"event": "not_moved"},
            )

    def move(self, end: float) -> None:
        """Exchange every delivery that has been held for too long. Raises: whatever may fail; then they stay held."""
        old = [each for each in self._hold.longer_than(self.seconds) if each.tag[1] not in self._unwritable]
        for first in range(0, len(old), _AT_ONCE):
            self._exchange(old[first : first + _AT_ONCE], end)

    def _exchange(self, deliveries: Sequence[Delivery], end: float) -> None:
        copies = [copy for copy in map(self._copy, deliveries) if copy is not None]
        if not copies:
            return
        consumer = self._prepared(end)
        # Have a window first that all of them fit in: none shall wait in the queue.
        self._arrived(consumer, consumer.take([self.name], limit=len(copies), timeout=0.0))
        self._send(copies, end)
        left = len(copies)
        while left > 0:
            taken = consumer.take([self.name], limit=left, timeout=max(end - monotonic(), 0.0))
            if not taken and (monotonic() >= end or self._ending.is_set()):
                raise DeadlineExceeded(f"{len(copies)} copies did not come back in time", sent=True)
            left -= len(taken)
            self._arrived(consumer, taken)

    def _copy(self, delivery: Delivery) -> Outgoing | None:
        number = delivery.tag[1]
        own: dict[str, Any] = {DELIVERIES: delivery.deliveries, HELD: number}
        try:
            return write(delivery.message, exchange=self.name, routing_key=delivery.queue, own=own, copy=True)
        except EncodeError as error:
            self._unwritable.add(number)
            self._warn(error)
            return None

    def _arrived(self, consumer: Consumer, taken: Sequence[Incoming]) -> None:
        """Hold copies instead of what was held before; let those go that nobody needs any more."""
        came: list[int] = []
        copies: list[int] = []
        for incoming in taken:
            number = incoming.headers.get(HELD)
            if not isinstance(number, int):
                continue  # not ours: it stays, and goes to the queue that its routing key names as this connection ends
            before = self._hold.move(number, incoming.tag)
            if before is None:
                copies.append(incoming.tag)
            elif before.moved is None:
                came.append(number)
            else:
                copies.append(before.moved)
        if came:
            logger.debug("%d deliveries move to %s", len(came), self.name, extra={"event": "moved"})
        self._acknowledge(came)
        consumer.ack(copies)

    def _send(self, copies: Sequence[Outgoing], end: float) -> None:
        try:
            self._publication.send(copies, end)
        except (LinkLost, CeleriacError):
            if self._link.lost or self._ending.is_set():
                raise
            # That connection may have broken while this one lives; whoever publishes next for the worker finds out too.
            if self._publication is not self._shared:
                self._publication.close()
            self._publication = self._another()
            self._publication.send(copies, end)

    def _prepared(self, end: float) -> Consumer:
        # Each time: to consume a queue that somebody has deleted meanwhile would end the connection.
        self._declare(end)
        if self._consumer is None:
            self._consumer = Consumer(self._link, missing=self._make_again)
        return self._consumer

    def _make_again(self, _queue: str) -> None:
        self._declare(monotonic() + _MOVE_SECONDS)

    def _declare(self, end: float) -> None:
        arguments: dict[str, Any] = {
            "x-queue-type": self._queue_type,
            "x-message-ttl": round(self.live_seconds * 1000),
            "x-expires": round(_UNUSED_SECONDS * 1000),
            "x-dead-letter-exchange": "",
        }
        if self._queue_type == "quorum":
            arguments |= {"x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once"}
        exchange = {"exchange": self.name, "type": "fanout", "durable": True, "auto_delete": True}
        queue = {"queue": self.name, "durable": True, "auto_delete": False, "arguments": arguments}
        self._asking.each(
            [
                ("exchange_declare", exchange),
                ("queue_declare", queue),
                ("queue_bind", {"queue": self.name, "exchange": self.name}),
            ],
            end - monotonic(),
        )
