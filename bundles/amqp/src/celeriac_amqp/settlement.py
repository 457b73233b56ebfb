"""Settling: copies and follow-ups first, confirmed in one wait; then the acknowledgements, in one write.

Nothing is returned to RabbitMQ by rejecting it: that raises a count which version 4 drops messages for. What goes back
to its queue, now or later, to the dead letters or aside, goes there as a copy, and the original is acknowledged. A
kill between the two leaves both: a message may be doubled so, never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from celeriac.errors import InternalError
from celeriac.kernel.clock import Clock
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.transport import LetterKind
from celeriac_amqp.frames import Outgoing
from celeriac_amqp.hold import Claim, Hold
from celeriac_amqp.letters import LETTER_QUEUES, letter_headers
from celeriac_amqp.messages import DELIVERIES, write
from celeriac_amqp.publication import Publication
from celeriac_amqp.topology import Topology

__all__ = ["Settlement"]

_KINDS: Final[dict[Action, LetterKind]] = {Action.DEAD: "dead", Action.PARK: "parked"}


class Settlement:
    """Carries out verdicts. `ack(claims)` acknowledges what they stand for, wherever it lies now.

    Of what lies in the connection's own queue, a run may have taken hours, and whether the connection is alive is worth
    an answer of the server: `alive(timeout)` raises if it is not.
    """

    def __init__(
        self,
        publication: Publication,
        topology: Topology,
        hold: Hold,
        ack: Callable[[list[Claim]], None],
        *,
        alive: Callable[[float], object],
        clock: Clock,
        prepare: Callable[[float], None],
    ) -> None:
        self._publication = publication
        self._topology = topology
        self._hold = hold
        self._ack = ack
        self._alive = alive
        self._clock = clock
        self._prepare = prepare

    def settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        """Carry out verdicts; return those whose delivery is not held."""
        end = monotonic() + timeout
        refused: list[Verdict] = []
        claimed: list[Claim] = []
        copies: list[Outgoing] = []
        followups: list[Message] = []
        try:
            for verdict in verdicts:
                delivery = verdict.delivery
                if delivery is not None:
                    found = self._hold.claim(delivery.tag)
                    if found is None:
                        refused.append(verdict)
                        continue
                    claimed.append(found)
                    if verdict.action is not Action.ACK:
                        copies.append(self._copy(verdict, delivery, end))
                followups += verdict.followups
            moved = any(claim.moved is not None for claim in claimed)
            if moved:
                self._alive(end - monotonic())
            self._publish(copies, followups, end)
        except BaseException:
            self._hold.restore(claimed)
            raise
        if claimed:
            self._ack(claimed)
        if moved:
            # Where these went to a dead connection, the messages come back, and whoever asked must know that.
            self._alive(end - monotonic())
        return refused

    def _publish(self, copies: list[Outgoing], followups: list[Message], end: float) -> None:
        if copies:
            self._publication.send(copies, end)
        if followups:
            self._publication.publish(followups, end - monotonic())

    def _copy(self, verdict: Verdict, delivery: Delivery, end: float) -> Outgoing:
        if verdict.action is Action.RELEASE:
            taken = delivery.deliveries if verdict.counted else delivery.deliveries - 1
            own: dict[str, Any] = {DELIVERIES: taken} if taken else {}
            if verdict.delay > 0:
                return self._publication.to_ladder(
                    delivery.message, delivery.queue, verdict.delay, end, own=own, copy=True
                )
            self._topology.ensure([delivery.queue], end - monotonic())
            return write(delivery.message, exchange="", routing_key=delivery.queue, own=own, copy=True)
        kind = _KINDS.get(verdict.action)
        if kind is None:
            raise InternalError(f"unknown action {verdict.action!r}")
        self._prepare(end - monotonic())
        own = letter_headers(
            queue=delivery.queue, reason=verdict.reason, moment=self._clock.time(), deliveries=delivery.deliveries
        )
        return write(delivery.message, exchange="", routing_key=LETTER_QUEUES[kind], own=own, copy=True)
