"""Each test of taking what follows passes a sound transport, and fails one that is broken in just that way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from broken import MemoryModule, assert_fails, promises_of
from msgspec.structs import replace

from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.following import Following
from celeriac_memory.transport import MemoryTransport

Taken = tuple[list[Verdict], list[Delivery]]


class Takes(MemoryTransport):
    """A sound one, as long as nobody else takes: it looks first whether something waits."""

    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> Taken:
        waits = any(depth.waiting for depth in self.depths(queues, timeout=timeout))
        refused = self.settle(verdicts, timeout=timeout)
        return refused, [] if waits else self.receive(queues, limit=limit, timeout=0.0)


class Overtakes(Takes):
    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> Taken:
        waiting = self.receive(queues, limit=1000, timeout=0.0)
        answer = super().settle_and_take(verdicts, queues, limit=limit, timeout=timeout)
        self.settle([Verdict(delivery=one, action=Action.RELEASE, counted=False) for one in waiting], timeout=timeout)
        return answer


class LeavesWhatItTook(Takes):
    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> Taken:
        refused, taken = super().settle_and_take(verdicts, queues, limit=limit, timeout=timeout)
        self.publish([one.message for one in taken], timeout=timeout)
        return refused, taken


class TakesTooMany(Takes):
    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> Taken:
        return super().settle_and_take(verdicts, queues, limit=limit + 1, timeout=timeout)


class HoldsNothing(Takes):
    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> Taken:
        messages = [message for verdict in verdicts for message in verdict.followups]
        refused = self.settle([replace(verdict, followups=()) for verdict in verdicts], timeout=timeout)
        return refused, [Delivery(message=each, queue=each.routing_key, tag=0) for each in messages[:limit]]


class TakesAfterARefusal(Takes):
    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> Taken:
        refused = self.settle(verdicts, timeout=timeout)
        self.publish([message for verdict in refused for message in verdict.followups], timeout=timeout)
        return refused, self.receive(queues, limit=limit, timeout=0.0)


DEFECTS: dict[str, list[type[Takes]]] = {
    "what_follows_may_be_taken_in_the_step_that_settles_and_is_nowhere_else": [LeavesWhatItTook, TakesTooMany],
    "what_was_taken_with_a_settlement_is_held_as_all_else": [HoldsNothing],
    "what_follows_is_not_taken_before_what_waits": [Overtakes],
    "what_follows_a_refused_verdict_is_not_taken": [TakesAfterARefusal],
}


@pytest.mark.parametrize("promise", DEFECTS)
def test_a_sound_transport_passes(promise: str) -> None:
    with TransportBench(MemoryModule(Takes)) as bench:
        getattr(Following(), f"test_{promise}")(bench)


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[Takes]) -> None:
    assert_fails(Following, promise, TransportBench(MemoryModule(broken)), {})


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted(DEFECTS) == promises_of(Following)
