"""Each test of the coordinator contract fails a coordinator that is broken in just that way."""

from __future__ import annotations

import threading
from collections.abc import Collection

import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.testing.contracts.coordinator import CoordinatorBench, CoordinatorContract
from celeriac_memory.agreements import Agreements
from celeriac_memory.coordinator import MemoryCoordinator
from celeriac_memory.store import MemoryStore


class GivesLeasesToAll(MemoryCoordinator):
    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        return super()._lease(name, "everybody", ttl, timeout)


class GivesANewTokenEachTime(MemoryCoordinator):
    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        token = super()._lease(name, owner, ttl, timeout)
        return None if token is None else next(self._agreements._tokens)


class GivesTheSameTokenAgain(MemoryCoordinator):
    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        return None if super()._lease(name, owner, ttl, timeout) is None else 1


class RenewsNothing(MemoryCoordinator):
    """Keeps what was first agreed."""

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        kept = self._agreements._leases.get(name)
        token = super()._lease(name, owner, ttl, timeout)
        if kept is not None and token == kept[1]:
            self._agreements._leases[name] = kept
        return token

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        inside = self._agreements._semaphores.get(key)
        until = inside.until.get(owner) if inside is not None else None
        found = super()._enter(key, owner, limit, ttl, timeout)
        if until is not None and ttl > 0:
            self._agreements._semaphores[key].until[owner] = until
        return found

    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None:
        known = self._recall(name, members, timeout)
        super()._remember(name, set(members) - known, ttl, timeout)


class NeverForgets(MemoryCoordinator):
    """Takes every time to live for a year, and giving up for nothing."""

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        return super()._lease(name, owner, 3e7, timeout) if ttl else None

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        return super()._enter(key, owner, limit, 3e7, timeout) and ttl > 0

    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None:
        super()._remember(name, members, 3e7, timeout)


class LetsAnybodyGiveUp(MemoryCoordinator):
    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        if ttl <= 0:
            self._agreements._leases.pop(name, None)
        return super()._lease(name, owner, ttl, timeout)


class TakesWhatNobodyHas(MemoryCoordinator):
    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        return super()._lease(name, owner, ttl or 60.0, timeout)


class HasOneOfEach(MemoryCoordinator):
    """Does not tell names apart."""

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        return super()._lease("name", owner, ttl, timeout)

    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        return super()._take("name", rate, capacity, amount, timeout)

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        return super()._enter("name", owner, limit, ttl, timeout)

    def _recall(self, name: str, members: Collection[str], timeout: float) -> set[str]:
        return super()._recall("set", members, timeout)


class KeepsItToItself(MemoryCoordinator):
    """Each connection knows only what was agreed over it."""

    def _open(self, timeout: float) -> None:
        super()._open(timeout)
        self._store = MemoryStore()


class StartsEmpty(MemoryCoordinator):
    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        self._agreements._buckets.setdefault(bucket, (0.0, self.clock.monotonic()))
        return super()._take(bucket, rate, capacity, amount, timeout)


class SaysToWaitLessThanItTakes(MemoryCoordinator):
    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        return super()._take(bucket, rate, capacity, amount, timeout) / 3


class TakesEvenWhenItRefuses(MemoryCoordinator):
    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        wait = super()._take(bucket, rate, capacity, amount, timeout)
        if wait:
            level, since = self._agreements._buckets[bucket]
            self._agreements._buckets[bucket] = (level - amount, since)
        return wait


class Overflows(MemoryCoordinator):
    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        if bucket in self._agreements._buckets:
            return super()._take(bucket, rate, 1e9, amount, timeout)
        return super()._take(bucket, rate, capacity, amount, timeout)


class RoundsAmounts(MemoryCoordinator):
    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        return super()._take(bucket, rate, capacity, float(round(amount + 0.5)), timeout)


class LetsOneMoreIn(MemoryCoordinator):
    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        return super()._enter(key, owner, limit + 1, ttl, timeout)


class EmptiesOnLeaving(MemoryCoordinator):
    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        if not ttl:
            self._agreements._semaphores.pop(key, None)
        return super()._enter(key, owner, limit, ttl, timeout)


class RemembersAThousand(MemoryCoordinator):
    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None:
        super()._remember(name, list(members)[:1000], ttl, timeout)


class ReadsThenWrites(MemoryCoordinator):
    """Asks in one step and writes in another: many get in between."""

    def _between(self) -> Agreements:
        before = self._agreements
        threading.Event().wait(0.05)
        return before

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        free = name not in self._between()._leases
        threading.Event().wait(0.05)
        return next(self._agreements._tokens) if free and not self._agreements._leases.pop(name, None) else 1

    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        level, since = self._agreements._buckets.get(bucket, (capacity, self.clock.monotonic()))
        threading.Event().wait(0.01)
        self._agreements._buckets[bucket] = (level - 1, since)
        return 0.0 if level >= amount else 1.0

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        inside = self._agreements._semaphores.get(key)
        threading.Event().wait(0.05)
        super()._enter(key, owner, 1000, ttl, timeout)
        return inside is None or len(inside.until) < limit


class ClosesOnce(MemoryCoordinator):
    def _close(self) -> None:
        if not self._open_now:
            raise RuntimeError("already closed")
        super()._close()


class WorksWhenClosed(MemoryCoordinator):
    @property
    def _agreements(self) -> Agreements:
        return self._store.agreements


DEFECTS: dict[str, list[type[MemoryCoordinator]]] = {
    "one_owner_at_a_time_has_a_lease": [GivesLeasesToAll],
    "renewing_keeps_the_token_and_the_lease": [GivesANewTokenEachTime, RenewsNothing],
    "a_lapsed_lease_goes_to_another_with_a_higher_token": [GivesTheSameTokenAgain, NeverForgets],
    "a_lease_that_was_given_up_is_free": [NeverForgets, TakesWhatNobodyHas],
    "only_its_owner_gives_a_lease_up": [LetsAnybodyGiveUp],
    "tokens_grow_with_every_change_of_hands": [GivesTheSameTokenAgain],
    "leases_of_different_names_do_not_meet": [HasOneOfEach],
    "giving_up_what_nobody_has_does_nothing": [TakesWhatNobodyHas],
    "of_many_who_ask_at_once_one_gets_it": [ReadsThenWrites],
    "a_lease_outlives_the_connection": [KeepsItToItself],
    "a_new_bucket_is_full": [StartsEmpty],
    "the_answer_says_when_the_tokens_will_be_there": [SaysToWaitLessThanItTakes],
    "a_refusal_takes_nothing": [TakesEvenWhenItRefuses],
    "a_bucket_never_holds_more_than_its_capacity": [Overflows],
    "amounts_may_be_fractions": [RoundsAmounts],
    "buckets_of_different_names_do_not_meet": [HasOneOfEach],
    "many_who_take_at_once_get_no_more_than_there_is": [ReadsThenWrites],
    "no_more_than_the_limit_are_inside": [LetsOneMoreIn, KeepsItToItself],
    "who_is_inside_stays_by_entering_again": [RenewsNothing],
    "who_does_not_enter_again_is_out": [NeverForgets],
    "who_leaves_makes_room": [NeverForgets],
    "leaving_when_not_inside_does_nothing": [EmptiesOnLeaving],
    "semaphores_of_different_keys_do_not_meet": [HasOneOfEach],
    "of_many_who_enter_at_once_as_many_as_the_limit_get_in": [ReadsThenWrites, LetsOneMoreIn],
    "a_set_recalls_what_it_was_told_and_nothing_else": [HasOneOfEach, KeepsItToItself],
    "each_member_is_forgotten_after_its_own_time": [NeverForgets],
    "remembering_again_counts_from_now": [RenewsNothing],
    "no_time_at_all_removes": [NeverForgets],
    "a_set_may_be_large": [RemembersAThousand],
    "closing_twice_or_before_opening_does_nothing": [ClosesOnce],
    "a_closed_connection_says_so": [WorksWhenClosed],
}


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_coordinator_fails(promise: str, broken: type[MemoryCoordinator]) -> None:
    assert_fails(CoordinatorContract, promise, CoordinatorBench(MemoryModule(broken)), {})


def test_every_test_is_shown_to_fail_some_coordinator() -> None:
    assert sorted(DEFECTS) == promises_of(CoordinatorContract)
