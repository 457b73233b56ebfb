"""Each test of inspection and letters fails a transport that is broken in just that way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.transport import Letter, QueueDepth
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.inspecting import Inspecting, KeepingLetters
from celeriac_memory.broker import Broker
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


class NeverLapses(LeaseOf):
    seconds = 1e9


class ChangesVerdicts(MemoryTransport):
    """Carries out something else than it was told."""

    def changed(self, verdict: Verdict) -> Verdict:
        raise NotImplementedError

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        changed = [self.changed(verdict) for verdict in verdicts]
        refused = super()._settle(changed, timeout)
        return [
            verdict for verdict, one in zip(verdicts, changed, strict=True) if any(one is found for found in refused)
        ]


class ChangesDepths(MemoryTransport):
    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        return [self.changed(depth) for depth in super().depths(queues, timeout=timeout)]

    def changed(self, depth: QueueDepth) -> QueueDepth:
        raise NotImplementedError


class CountsWhatIsHeldAsWaiting(ChangesDepths):
    def changed(self, depth: QueueDepth) -> QueueDepth:
        return replace(depth, waiting=depth.waiting + depth.held, held=0)


class CountsWhatIsDelayedAsWaiting(ChangesDepths):
    def changed(self, depth: QueueDepth) -> QueueDepth:
        return replace(depth, waiting=depth.waiting + depth.delayed, delayed=0)


class SaysNothingIsOld(ChangesDepths):
    def changed(self, depth: QueueDepth) -> QueueDepth:
        return replace(depth, oldest_seconds=0.0)


class CountsOneQueue(MemoryTransport):
    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        return super().depths(["one"] if queues is None else queues, timeout=timeout)


class TakesWhatItShows(MemoryTransport):
    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        return [delivery.message for delivery in self._receive([queue], limit, 0.0)]


class ShowsAlthoughItCannot(MemoryTransport):
    capabilities = replace(MemoryTransport.capabilities, browses=False)


class WantsQueuesToExist(MemoryTransport):
    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        return [self._broker._queues[queue].ready[0][2].message]


class PurgesEverything(MemoryTransport):
    def purge(self, queue: str, *, timeout: float) -> int:
        for lease in self._broker._leases.values():
            lease.held.clear()
        return super().purge(queue, timeout=timeout)


class PurgesOnlyWhatWaits(MemoryTransport):
    def purge(self, queue: str, *, timeout: float) -> int:
        delayed = list(self._broker._queues[queue].delayed)
        found = super().purge(queue, timeout=timeout)
        self._broker._queues[queue].delayed.extend(delayed)
        return found


class ForgetsReasons(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, reason="")


class ListsEverything(MemoryTransport):
    def letters(self, kind: Any = None, *, limit: int, after: str | None = None, timeout: float) -> list[Letter]:
        return super().letters(limit=1000, timeout=timeout)


class ReplaysWithTheOldCount(MemoryTransport):
    class its_broker(Broker):  # noqa: N801  read as an attribute
        def replay(self, ids: Collection[str], now: float) -> int:
            found = super().replay(ids, now)
            for queue in self._queues.values():
                for _, _, item in queue.ready:
                    item.deliveries = 1
            return found


class ReplaysSilently(MemoryTransport):
    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        return self._broker.replay(ids, self.clock.time())


class ReplaysCopies(MemoryTransport):
    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        chosen = [letter.message for letter in self._broker.letters(None, 1000, None) if letter.id in ids]
        self._publish(chosen, timeout)
        return len(ids)


class KeepsWhatIsDiscarded(MemoryTransport):
    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        return len(ids)


class ForgetsLettersWhenClosed(MemoryTransport):
    def _close(self) -> None:
        super()._close()
        self._broker._letters.clear()


DEFECTS: dict[str, list[type[MemoryTransport]]] = {
    "depths_count_what_waits_and_what_is_held": [CountsWhatIsHeldAsWaiting],
    "depths_count_what_is_delayed": [CountsWhatIsDelayedAsWaiting],
    "what_a_lapsed_lease_held_waits": [NeverLapses],
    "all_queues_are_counted_when_none_is_named": [CountsOneQueue],
    "the_age_is_that_of_the_oldest_one_waiting": [SaysNothingIsOld],
    "an_empty_queue_has_no_age": [SaysNothingIsOld],
    "browsing_shows_what_comes_next_and_takes_nothing": [TakesWhatItShows],
    "who_cannot_show_messages_says_so": [ShowsAlthoughItCannot],
    "an_unknown_queue_has_nothing_to_show_or_purge": [WantsQueuesToExist],
    "purging_deletes_what_waits_in_one_queue_and_leaves_what_is_held": [PurgesEverything],
    "purging_deletes_what_is_delayed": [PurgesOnlyWhatWaits],
    "a_letter_says_what_why_when_and_where": [ForgetsReasons],
    "letters_are_listed_by_kind_and_oldest_first": [ListsEverything],
    "letters_are_listed_page_by_page": [ListsEverything],
    "a_replayed_letter_is_delivered_as_if_for_the_first_time": [ReplaysWithTheOldCount, ReplaysCopies],
    "a_blocked_receiver_gets_a_replayed_letter": [ReplaysSilently],
    "a_discarded_letter_is_gone": [KeepsWhatIsDiscarded],
    "only_letters_that_are_there_are_counted": [ReplaysCopies],
    "letters_outlive_the_connection": [ForgetsLettersWhenClosed],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_replayed_letter_is_delivered_as_if_for_the_first_time": {"action": Action.DEAD},
}


class Suite(Inspecting, KeepingLetters):
    __test__ = False


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[MemoryTransport]) -> None:
    assert_fails(Suite, promise, TransportBench(MemoryModule(broken)), PARAMETERS.get(promise, {}))


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted(DEFECTS) == promises_of(Suite)
