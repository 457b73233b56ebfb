"""Each test of leases, sharing and accounting fails a transport that is broken in just that way."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from broken import NO_SHRINKING, MemoryModule, assert_fails, promises_of
from hypothesis import settings

from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.testing.contracts.transports.accounting import Accounting
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.leasing import Leasing
from celeriac.testing.contracts.transports.sharing import Sharing
from celeriac_memory.broker import Broker
from celeriac_memory.joins import Joins
from celeriac_memory.transport import MemoryTransport

replace = msgspec.structs.replace


class LeaseOf(MemoryTransport):
    """Leases of another length than it says."""

    seconds = 30.0

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        self.option["lease_seconds"] = self.seconds
        try:
            return super()._receive(queues, limit, timeout)
        finally:
            self.option["lease_seconds"] = 30.0


class LapsesEarly(LeaseOf):
    seconds = 10.0


class NeverLapses(LeaseOf):
    seconds = 1e9


class LapsesWithoutCounting(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def _reap(self, tick: float, now: float) -> None:
            for lease in self._leases.values():
                for item in lease.held.values() if lease.until <= tick else ():
                    item.deliveries -= 1
            super()._reap(tick, now)


class LooksOnlyWhenAsked(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def next_change(self, queues: Sequence[str], now: float, tick: float) -> float | None:
            return None

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._store.lock:
            taken = super()._receive(queues, limit, 0.0)
            if not taken and timeout:
                self._store.arrivals.wait(timeout / 1000)
            return taken


class RenewsNothing(MemoryTransport):
    def renew(self, *, timeout: float) -> bool:
        return True


class RenewsEverybody(MemoryTransport):
    def renew(self, *, timeout: float) -> bool:
        for lease in self._broker._leases.values():
            lease.until = self.clock.monotonic() + 30.0
        return super().renew(timeout=timeout)


class HandsNothingBack(MemoryTransport):
    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        return 0


class CountsWhatItHandsBack(MemoryTransport):
    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        known = {delivery.tag for delivery in deliveries}
        lost = [tag for tag in self._broker._leases[self.context.holder].held if tag not in known]
        counted = [
            Verdict(
                delivery=Delivery(message=Message(body=b"", routing_key=""), queue="", tag=tag), action=Action.RELEASE
            )
            for tag in lost
        ]
        self._settle(counted, timeout)
        return len(counted)


class HidesThatItLapsed(MemoryTransport):
    def renew(self, *, timeout: float) -> bool:
        super().renew(timeout=timeout)
        return True


class RenewsOnlyBetweenReceives(MemoryTransport):
    def __init__(self, address: Any, context: Any) -> None:
        super().__init__(address, context)
        self._one_at_a_time = threading.Lock()

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._one_at_a_time:
            return super()._receive(queues, limit, timeout)

    def renew(self, *, timeout: float) -> bool:
        with self._one_at_a_time:
            return super().renew(timeout=timeout)


class TakesUnderALapsedLease(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def _lease(self, holder: str, tick: float, seconds: float) -> Any:
            lease = self._leases.get(holder)
            return lease if lease is not None else super()._lease(holder, tick, seconds)


class SettlesWithoutALook(MemoryTransport):
    """Notices that leases have lapsed only when somebody receives."""

    class its_broker(Broker):  # noqa: N801  read as an attribute
        def settle(self, holder: str, verdicts: Sequence[Verdict], *, joins: Joins, now: float, tick: float) -> Any:
            return super().settle(holder, verdicts, joins=joins, now=now, tick=-math.inf)


class HidesRefusals(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        super()._settle(verdicts, timeout)
        return []


class AppliesStaleVerdicts(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        refused = super()._settle(verdicts, timeout)
        self._publish([verdict.delivery.message for verdict in refused if verdict.delivery is not None], timeout)
        return refused


class ReusesTags(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def _hand_over(self, item: Any, lease: Any) -> Delivery:
            delivery = super()._hand_over(item, lease)
            lease.held[item.order] = lease.held.pop(delivery.tag)
            return replace(delivery, tag=item.order)


class HoldsPerConnection(MemoryTransport):
    def __init__(self, address: Any, context: Any) -> None:
        super().__init__(address, replace(context, holder=f"{context.holder} {id(self)}"))


class DeliversTwice(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        taken = super()._receive(queues, limit, timeout)
        self._publish([delivery.message for delivery in taken[:1] if delivery.deliveries == 1], timeout)
        return taken


class LosesOneInTen(MemoryTransport):
    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        super()._publish([message for message in messages if not message.body.endswith(b"9")], timeout)


class LosesHandBacks(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle([replace(verdict, action=Action.ACK) for verdict in verdicts], timeout)


class LosesWhatALapsedLeaseHeld(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def _reap(self, tick: float, now: float) -> None:
            for lease in self._leases.values():
                if lease.until <= tick and len(lease.held) > 1:
                    _, item = lease.held.popitem()
                    item.queue.held -= 1
            super()._reap(tick, now)


DEFECTS: dict[str, list[type[MemoryTransport]]] = {
    "what_is_held_stays_held_while_the_lease_lasts": [LapsesEarly],
    "what_a_lapsed_lease_held_returns_with_its_delivery_count_raised": [NeverLapses, LapsesWithoutCounting],
    "a_blocked_receiver_gets_what_returns": [LooksOnlyWhenAsked],
    "a_renewed_lease_keeps_what_it_holds": [RenewsNothing],
    "one_renewal_covers_all_that_its_holder_has_and_nothing_else": [RenewsEverybody, RenewsNothing],
    "what_its_holder_does_not_know_of_goes_back_uncounted": [HandsNothingBack, CountsWhatItHandsBack],
    "renewing_tells_that_the_lease_had_lapsed_and_starts_a_new_one": [HidesThatItLapsed],
    "renewing_tells_it_also_when_another_has_taken_the_work_over": [HidesThatItLapsed],
    "renewing_works_while_receive_is_blocked": [RenewsOnlyBetweenReceives],
    "an_idle_holder_takes_messages_under_a_lease_of_full_length": [TakesUnderALapsedLease],
    "a_verdict_after_the_lease_lapsed_is_refused": [SettlesWithoutALook, HidesRefusals, AppliesStaleVerdicts],
    "a_verdict_after_another_took_over_is_refused": [HidesRefusals, AppliesStaleVerdicts],
    "a_stale_verdict_is_refused_although_the_same_holder_took_the_message_again": [ReusesTags],
    "a_holder_may_settle_over_another_connection_of_its_own": [HoldsPerConnection],
    "renewing_over_one_connection_keeps_what_another_took": [HoldsPerConnection],
    "two_holders_taking_from_one_queue_never_share_a_message": [DeliversTwice, LosesOneInTen],
    "threads_may_share_one_connection": [DeliversTwice, LosesOneInTen],
    "hand_backs_under_way_lose_and_double_nothing": [LosesHandBacks],
    "every_accepted_message_is_settled_or_in_exactly_one_place": [
        DeliversTwice,
        LosesWhatALapsedLeaseHeld,
        AppliesStaleVerdicts,
        HidesThatItLapsed,
    ],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_verdict_after_the_lease_lapsed_is_refused": {"action": Action.DEAD},
    "a_verdict_after_another_took_over_is_refused": {"action": Action.RELEASE},
}


class Suite(Leasing, Sharing, Accounting):
    __test__ = False
    effort = settings(Accounting.effort, max_examples=400, derandomize=True, phases=NO_SHRINKING)


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[MemoryTransport]) -> None:
    assert_fails(Suite, promise, TransportBench(MemoryModule(broken)), PARAMETERS.get(promise, {}))


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted(DEFECTS) == promises_of(Suite)
