"""Each test of settling, delays and priorities fails a transport that is broken in just that way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.service import Context
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.settling import Delaying, Prioritising, Settling
from celeriac_memory.broker import Broker
from celeriac_memory.transport import MemoryTransport

replace = msgspec.structs.replace


class Changing(MemoryTransport):
    """Publishes something else than it was given."""

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        super()._publish([self.changed(message) for message in messages], timeout)

    def changed(self, message: Message) -> Message:
        raise NotImplementedError


class DelaysThePast(Changing):
    def changed(self, message: Message) -> Message:
        return message if message.due is None else replace(message, due=self.clock.time() + 60)


class WakesEverybody(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._store.lock:
            self.clock.wait(self._store.arrivals, timeout)
        return super()._receive(queues, limit, 0.0)


class ForgetsVerdicts(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return []


class RefusesNothingAtAll(MemoryTransport):
    def settle(self, verdicts: Sequence[Verdict], *, timeout: float) -> list[Verdict]:  # type: ignore[misc]
        return super().settle(verdicts, timeout=timeout) if verdicts else [Verdict(delivery=None)]


class ReleasesToTheBack(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        acks = [Verdict(delivery=verdict.delivery) for verdict in verdicts]
        refused = super()._settle(acks, timeout)
        released = [verdict.delivery for verdict in verdicts if verdict.action is Action.RELEASE]
        self._publish([delivery.message for delivery in released if delivery is not None], timeout)
        return refused


class NeverCounts(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle([replace(verdict, counted=False) for verdict in verdicts], timeout)


class CountsHandBacks(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle([replace(verdict, counted=True) for verdict in verdicts], timeout)


class ReleasesWhatIsPutAside(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle(
            [
                verdict if verdict.action is Action.ACK else replace(verdict, action=Action.RELEASE)
                for verdict in verdicts
            ],
            timeout,
        )


class HidesRefusals(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        super()._settle(verdicts, timeout)
        return []


class AppliesStaleVerdicts(MemoryTransport):
    """Says that it refuses, yet releases."""

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        refused = super()._settle(verdicts, timeout)
        again = [verdict.delivery for verdict in refused if verdict.action is not Action.ACK]
        self._publish([delivery.message for delivery in again if delivery is not None], timeout)
        return refused


class KnowsNoHolders(MemoryTransport):
    def __init__(self, address: Any, context: Context) -> None:
        super().__init__(address, replace(context, holder="everybody"))


class ReusesTags(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def _hand_over(self, item: Any, lease: Any) -> Delivery:
            delivery = super()._hand_over(item, lease)
            lease.held[item.order] = lease.held.pop(delivery.tag)
            return replace(delivery, tag=item.order)


class StopsAtTheFirstRefusal(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        for verdict in verdicts:
            if super()._settle([verdict], timeout):
                return [verdict]
        return []


class SettlesAHundredAtOnce(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle(verdicts[:100], timeout)


class IgnoresDelays(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, due=None)


class LooksOnlyWhenAsked(MemoryTransport):
    """Does not wake by itself when something becomes due or a lease lapses."""

    class its_broker(Broker):  # noqa: N801  read as an attribute
        def next_change(self, queues: Sequence[str], now: float, tick: float) -> float | None:
            return None

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._store.lock:
            taken = super()._receive(queues, limit, 0.0)
            if not taken and timeout:
                self.clock.wait(self._store.arrivals, timeout)
                time.sleep(0)
            return taken


class IgnoresDelaysOfReleases(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle([replace(verdict, delay=0.0) for verdict in verdicts], timeout)


class IgnoresPriorities(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, priority=0)


class TurnsPrioritiesUpsideDown(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, priority=-message.priority)


class TellsThreePrioritiesApart(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, priority=min(2, message.priority))


class ReleasesToTheFront(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def _carry_out(self, verdict: Verdict, item: Any, now: float) -> None:
            item.message = replace(item.message, priority=1000)
            super()._carry_out(verdict, item, now)


DEFECTS: dict[str, list[type[MemoryTransport]]] = {
    "an_acknowledged_message_is_gone": [ForgetsVerdicts],
    "settling_nothing_refuses_nothing": [RefusesNothingAtAll],
    "a_released_message_comes_back_before_younger_ones": [ReleasesToTheBack],
    "several_released_messages_come_back_in_their_order": [ReleasesToTheBack],
    "a_release_raises_the_delivery_count": [NeverCounts],
    "a_hand_back_of_unstarted_work_does_not_raise_the_delivery_count": [CountsHandBacks],
    "what_is_put_aside_is_not_delivered": [ReleasesWhatIsPutAside, ForgetsVerdicts],
    "a_second_verdict_is_refused_and_without_effect": [HidesRefusals, AppliesStaleVerdicts],
    "two_verdicts_on_one_delivery_in_one_batch_count_as_one": [HidesRefusals, AppliesStaleVerdicts],
    "another_holder_cannot_settle": [KnowsNoHolders, HidesRefusals, AppliesStaleVerdicts],
    "a_verdict_on_an_earlier_delivery_is_refused_although_the_holder_has_the_message_again": [ReusesTags],
    "one_refused_verdict_does_not_hinder_the_others": [StopsAtTheFirstRefusal, HidesRefusals],
    "a_large_batch_is_settled_completely": [SettlesAHundredAtOnce],
    "a_message_is_not_delivered_before_it_is_due": [IgnoresDelays],
    "delayed_messages_come_as_they_become_due": [IgnoresDelays, DelaysThePast],
    "a_blocked_receiver_gets_a_message_when_it_becomes_due": [LooksOnlyWhenAsked],
    "a_message_published_with_a_delay_ends_no_receive": [WakesEverybody, IgnoresDelays],
    "a_release_may_be_delayed": [IgnoresDelaysOfReleases],
    "a_higher_priority_comes_first_and_equal_ones_in_order": [IgnoresPriorities, TurnsPrioritiesUpsideDown],
    "every_declared_level_is_told_apart": [TellsThreePrioritiesApart, IgnoresPriorities],
    "the_priority_is_kept_and_a_higher_one_than_declared_is_no_error": [TellsThreePrioritiesApart],
    "a_released_message_returns_to_its_priority": [ReleasesToTheFront],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_released_message_comes_back_before_younger_ones": {"counted": True},
    "what_is_put_aside_is_not_delivered": {"action": Action.DEAD},
    "a_second_verdict_is_refused_and_without_effect": {"action": Action.RELEASE},
    "another_holder_cannot_settle": {"action": Action.PARK},
}


ELSEWHERE = "what_a_closed_connection_held_returns_unless_a_lease_keeps_it"
"""Shown on a transport without leases, in test_transport_suite_without_capabilities.py."""


class Suite(Settling, Delaying, Prioritising):
    __test__ = False


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[MemoryTransport]) -> None:
    assert_fails(Suite, promise, TransportBench(MemoryModule(broken)), PARAMETERS.get(promise, {}))


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted([*DEFECTS, ELSEWHERE]) == promises_of(Suite)
