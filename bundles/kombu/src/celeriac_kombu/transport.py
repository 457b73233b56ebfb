"""A transport over any of kombu's.

1. Two connections, each used by one thread (`lane`): one takes and acknowledges, one publishes. The second is opened
   with the first publication.
2. Messages are taken one by one, as many as are asked for, in the order of the queues; nothing is pushed, so nothing is
   hoarded. Between two looks the caller waits here, where `wake` and `close` reach it. The pause between looks grows to
   the transport's polling interval.
3. A look that a driver prolongs (SQS waits for messages by itself) goes on when its caller leaves; the next one gets
   what it found.
4. Nothing is returned by kombu's own means, which forget how often a message was taken: what is released, put aside, or
   still held when the connection is closed is published as a copy with its count, and then acknowledged.
5. Most virtual transports delete what they take. What cannot be given back there, because the broker is gone, is kept
   in this process until it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from msgspec.structs import replace

from celeriac.errors import CeleriacError, Unsupported
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.routing import Queue
from celeriac.spi.service import Context
from celeriac.spi.transport import Declares, Transport, TransportCapabilities
from celeriac_kombu import messages, remains
from celeriac_kombu.holding import Held, Holding
from celeriac_kombu.lane import Lane, LaneLost
from celeriac_kombu.link import Link, Taken
from celeriac_kombu.messages import ASIDE, Outgoing
from celeriac_kombu.plugin import CAPABILITIES, OPTIONS
from celeriac_kombu.target import Target

__all__ = ["KombuTransport"]

logger: logging.Logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.01
_GRACE_SECONDS: Final = 0.5
"""How much longer than asked a receive waits for a look that is under way."""
_CLOSE_SECONDS: Final = 5.0


class KombuTransport(Transport, Declares):
    """Any transport of kombu; see this module's text for how."""

    capabilities: TransportCapabilities = CAPABILITIES
    options = OPTIONS
    driver_errors = (LaneLost,)

    def __init__(self, address: Address, context: Context) -> None:
        # What stands in the query of the URL is for kombu.
        super().__init__(replace(address, query={}), context)
        self.address = address
        own = {name: self.option.pop(name) for name in OPTIONS if name in self.option}
        self._target = Target(address, self.option, **own)
        self.capabilities = self._target.narrow(CAPABILITIES)
        self._holding = Holding()
        self._changed = threading.Condition()
        self._opening = threading.Lock()
        self._consumer = Lane(Link(self._target), "takes")
        self._publisher: Lane | None = None
        self._looking: Future[list[Taken]] | None = None
        self._next_look = 0.0
        self._pause = _FIRST_PAUSE
        self._failure: Exception | None = None
        self._is_open = False
        self._closed = False
        self._woken = False

    # -- life --------------------------------------------------------------------------------------

    def _open(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        self._consumer.open(timeout)
        self._is_open = True
        kept = remains.claim(self._target.key)
        if kept:
            try:
                self._send(kept, end - time.monotonic())
            except BaseException:
                remains.keep(self._target.key, kept)
                raise
            logger.warning(
                "gave back %d messages that an earlier connection held",
                len(kept),
                extra={"event": "remains_given_back", "count": len(kept)},
            )

    def _close(self) -> None:
        with self._changed:
            was_open, self._is_open, self._closed = self._is_open and not self._closed, False, True
            self._changed.notify_all()
        if was_open:
            self._give_back(*self._holding.empty())
        for lane in (self._consumer, self._publisher):
            if lane is not None:
                lane.close(_CLOSE_SECONDS)

    def _give_back(self, handed: list[Held], ready: list[Held]) -> None:
        """Return what is held: counted where somebody had it in hand."""
        copies = [self._copy(held.delivery, held.delivery.deliveries) for held in handed]
        copies += [self._copy(held.delivery, held.delivery.deliveries - 1) for held in ready]
        if not copies:
            return
        try:
            self._send(copies, _CLOSE_SECONDS, closing=True)
            raw = [held.raw for held in (*handed, *ready)]
            self._consumer.run(lambda link: link.acknowledge(raw), what="acknowledging", timeout=_CLOSE_SECONDS)
        except (LaneLost, CeleriacError):
            logger.warning(
                "the broker did not take back what was held",
                exc_info=True,
                extra={"event": "not_given_back", "count": len(copies), "kept": not self._target.kind.keeps},
            )
            if not self._target.kind.keeps:
                remains.keep(self._target.key, copies)

    def _check_open(self) -> None:
        if not self._is_open:
            raise self.lost_error(f"{self.address}: this connection is not open.")

    # -- publishing --------------------------------------------------------------------------------

    def _publish(self, messages_: Sequence[Message], timeout: float) -> None:
        self._check_open()
        self._send([messages.outgoing(message, self._target.kind) for message in messages_], timeout)

    def _send(self, copies: Sequence[Outgoing], timeout: float, *, closing: bool = False) -> None:
        end = time.monotonic() + timeout
        lane = self._publishing(timeout, closing=closing)
        lane.run(lambda link: link.publish(copies), what="publishing", timeout=end - time.monotonic())

    def _publishing(self, timeout: float, *, closing: bool) -> Lane:
        with self._opening:
            if self._publisher is None:
                if self._closed and not closing:
                    self._check_open()
                lane = Lane(Link(self._target), "publishes")
                try:
                    lane.open(timeout)
                except BaseException:
                    lane.close(0.0)
                    raise
                self._publisher = lane
            return self._publisher

    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        with self._call("declare"):
            self._check_open()
            for queue in queues:
                type_ = queue.exchange.type if queue.exchange is not None else "direct"
                if type_ not in self.capabilities.exchanges:
                    raise Unsupported(f"{type_} exchanges (queue {queue.name!r})", f"kombu's {self._target.scheme}")
            self._consumer.run(lambda link: link.declare(queues), what="declaring queues", timeout=timeout)

    # -- receiving ---------------------------------------------------------------------------------

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        end = time.monotonic() + timeout
        strays = self._holding.strays(queues)
        if strays:
            self._settle(strays, max(timeout, _GRACE_SECONDS))
        looked = False
        with self._changed:
            while True:
                self._check_open()
                if self._woken:
                    self._woken = False
                    return []
                found = self._holding.hand_out(queues, limit)
                if found:
                    return found
                self._raise_failure()
                now = time.monotonic()
                if self._looking is None and (now >= self._next_look or not looked) and (now < end or not looked):
                    looked = True
                    self._look(queues, limit)
                    continue
                until = end if self._looking is None else end + _GRACE_SECONDS
                if now >= until:
                    return []
                self._changed.wait(min(until, self._next_look) - now if self._looking is None else until - now)

    def _look(self, queues: Sequence[str], limit: int) -> None:
        """Begin a look; the lock is held."""
        asked = tuple(queues)
        self._looking = self._consumer.submit(lambda link: link.take(asked, limit))
        self._looking.add_done_callback(self._found)

    def _found(self, look: Future[list[Taken]]) -> None:
        """Take in what a look found; called by the lane's thread."""
        error = look.exception()
        taken = [] if error is not None else look.result()
        with self._changed:
            self._looking = None
            self._failure = error if isinstance(error, Exception) else None
            self._pause = _FIRST_PAUSE if taken else min(self._pause * 2, self._target.polling_seconds)
            self._next_look = time.monotonic() + (0.0 if taken else self._pause)
            late = self._closed
            if not late:
                self._holding.add(taken)
            self._changed.notify_all()
        if late and taken:
            self._return_late(taken)

    def _return_late(self, taken: Sequence[Taken]) -> None:
        """Give back what came after the end; called by the lane's thread, whose link is still there."""
        copies = [messages.copy_of(message, queue, before, self._target.kind) for _, queue, message, before in taken]
        try:
            self._consumer.link.publish(copies)
            self._consumer.link.acknowledge([raw for raw, *_ in taken])
        except Exception:  # whatever a driver raises
            logger.warning(
                "the broker did not take back what came late", exc_info=True, extra={"event": "not_given_back"}
            )
            if not self._target.kind.keeps:
                remains.keep(self._target.key, copies)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    # -- settling ----------------------------------------------------------------------------------

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        self._check_open()
        end = time.monotonic() + timeout
        claimed, refused = self._holding.claim(verdicts)
        copies = [copy for verdict, held in claimed if (copy := self._consequence(verdict, held.delivery)) is not None]
        raw = [held.raw for _, held in claimed]
        try:
            if copies:
                self._send(copies, timeout)
            if raw:
                left = end - time.monotonic()
                self._consumer.run(lambda link: link.acknowledge(raw), what="acknowledging", timeout=left)
        except BaseException:
            self._holding.put_back(claimed)
            raise
        return refused

    def _consequence(self, verdict: Verdict, delivery: Delivery) -> Outgoing | None:
        """Return the copy that takes the place of a message, if one does."""
        if verdict.action is Action.ACK:
            return None
        if verdict.action is Action.RELEASE:
            return self._copy(delivery, delivery.deliveries if verdict.counted else delivery.deliveries - 1)
        place = ASIDE[verdict.action is Action.PARK]
        return messages.aside(delivery, place, verdict.reason, self.clock.time(), self._target.kind)

    def _copy(self, delivery: Delivery, deliveries: int) -> Outgoing:
        return messages.copy_of(delivery.message, delivery.queue, deliveries, self._target.kind)
