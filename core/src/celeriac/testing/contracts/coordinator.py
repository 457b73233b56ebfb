"""The contract of coordinators, as one class of tests. What it checks is written in `celeriac.spi.coordinator`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import pytest

from celeriac.errors import StoreError
from celeriac.spi.coordinator import Coordinator
from celeriac.testing.contracts.bench import TIMEOUT, Bench

__all__ = ["CoordinatorBench", "CoordinatorContract"]

TTL = 1.0
"""How long what is agreed upon lasts: long enough to be used, short enough to be waited for."""


class CoordinatorBench(Bench[Coordinator]):
    """A fresh coordinator."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, "coordinator")

    def pass_ttl(self) -> None:
        """Let everything lapse."""
        self.pass_time(TTL * 1.01)


class _Tests:
    harness: ClassVar[Any]
    """The harness module of the plugin."""

    @pytest.fixture
    def bench(self) -> Iterator[CoordinatorBench]:
        """Give each test a fresh store."""
        with CoordinatorBench(self.harness) as bench:
            yield bench


def _lease(at: Coordinator, owner: str, name: str = "lock", ttl: float = TTL) -> int | None:
    return at.lease(name, owner, ttl=ttl, timeout=TIMEOUT)


def _held(token: int | None) -> int:
    assert token is not None, "the lease is free, but was not given"
    return token


class LeaseTests(_Tests):
    """`lease`."""

    def test_one_owner_at_a_time_has_a_lease(self, bench: CoordinatorBench) -> None:
        first, second = bench.connect("a"), bench.connect("b")

        assert isinstance(_lease(first, "anna"), int)
        assert _lease(second, "bert") is None
        assert _lease(first, "bert") is None

    def test_renewing_keeps_the_token_and_the_lease(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        token = _held(_lease(at, "anna"))

        for _ in range(4):
            bench.pass_time(TTL * 0.5)
            assert _lease(at, "anna") == token
            assert _lease(at, "bert") is None

    def test_a_lapsed_lease_goes_to_another_with_a_higher_token(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        first = _held(_lease(at, "anna"))

        bench.pass_ttl()

        second = _held(_lease(at, "bert"))
        assert second > first
        assert _lease(at, "anna") is None

    def test_a_lease_that_was_given_up_is_free(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        first = _held(_lease(at, "anna"))

        assert _lease(at, "anna", ttl=0) is None

        assert _held(_lease(at, "bert")) > first

    def test_only_its_owner_gives_a_lease_up(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        token = _lease(at, "anna")

        assert _lease(at, "bert", ttl=0) is None

        assert _lease(at, "bert") is None
        assert _lease(at, "anna") == token

    def test_tokens_grow_with_every_change_of_hands(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        tokens = []
        for owner in ("anna", "bert", "anna", "bert"):
            tokens.append(_held(_lease(at, owner)))
            _lease(at, owner, ttl=0)

        assert tokens == sorted(set(tokens))

    def test_leases_of_different_names_do_not_meet(self, bench: CoordinatorBench) -> None:
        at = bench.connect()

        assert _lease(at, "anna", "one") is not None
        assert _lease(at, "bert", "two") is not None

    def test_giving_up_what_nobody_has_does_nothing(self, bench: CoordinatorBench) -> None:
        assert _lease(bench.connect(), "anna", ttl=0) is None

    def test_of_many_who_ask_at_once_one_gets_it(self, bench: CoordinatorBench) -> None:
        owners = [str(number) for number in range(8)]
        asking = [bench.background(partial(_lease, bench.connect(owner), owner, ttl=600)) for owner in owners]

        tokens = [bench.outcome(future) for future in asking]

        assert len([token for token in tokens if token is not None]) == 1

    def test_a_lease_outlives_the_connection(self, bench: CoordinatorBench) -> None:
        first = bench.connect("a")
        _lease(first, "anna", ttl=600)

        first.close()

        assert _lease(bench.connect("b"), "bert") is None


def _take(at: Coordinator, bucket: str = "bucket", amount: float = 1.0, **fields: float) -> float:
    limits = {"rate": 1.0, "capacity": 3.0, **fields}
    return at.take(bucket, rate=limits["rate"], capacity=limits["capacity"], amount=amount, timeout=TIMEOUT)


class BucketTests(_Tests):
    """`take`."""

    def test_a_new_bucket_is_full(self, bench: CoordinatorBench) -> None:
        at = bench.connect()

        assert [_take(at) for _ in range(3)] == [0.0, 0.0, 0.0]
        assert 0.0 < _take(at) <= 1.0

    def test_the_answer_says_when_the_tokens_will_be_there(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _take(at, amount=3.0)

        wait = _take(at)

        assert 0.5 < wait <= 1.0
        bench.pass_time(wait + 0.01)
        assert _take(at) == 0.0
        assert _take(at) > 0.0

    def test_a_refusal_takes_nothing(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _take(at, amount=2.0)

        for _ in range(5):
            assert _take(at, amount=3.0) > 0.0

        assert _take(at, amount=1.0) == 0.0

    def test_a_bucket_never_holds_more_than_its_capacity(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _take(at, amount=3.0, rate=10.0)

        bench.pass_time(1.0)

        assert _take(at, amount=3.0, rate=10.0) == 0.0
        assert _take(at, amount=3.0, rate=10.0) > 0.0

    def test_amounts_may_be_fractions(self, bench: CoordinatorBench) -> None:
        at = bench.connect()

        assert _take(at, amount=2.75, rate=0.001) == 0.0
        assert _take(at, amount=0.25, rate=0.001) == 0.0
        assert _take(at, amount=0.25, rate=0.001) > 0.0

    def test_buckets_of_different_names_do_not_meet(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _take(at, "one", amount=3.0)

        assert _take(at, "two") == 0.0

    def test_many_who_take_at_once_get_no_more_than_there_is(self, bench: CoordinatorBench) -> None:
        def take_all(at: Coordinator) -> int:
            return sum(_take(at, capacity=10.0, rate=0.0001) == 0.0 for _ in range(10))

        taking = [bench.background(partial(take_all, bench.connect(str(number)))) for number in range(4)]

        assert sum(bench.outcome(future) for future in taking) == 10


def _enter(at: Coordinator, owner: str, key: str = "key", limit: int = 2, ttl: float = TTL) -> bool:
    return at.enter(key, owner, limit=limit, ttl=ttl, timeout=TIMEOUT)


class SemaphoreTests(_Tests):
    """`enter`."""

    def test_no_more_than_the_limit_are_inside(self, bench: CoordinatorBench) -> None:
        first, second = bench.connect("a"), bench.connect("b")

        assert [_enter(first, "anna"), _enter(second, "bert"), _enter(first, "carl")] == [True, True, False]

    def test_who_is_inside_stays_by_entering_again(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _enter(at, "anna")
        _enter(at, "bert")

        for _ in range(3):
            bench.pass_time(TTL * 0.5)
            assert not _enter(at, "carl")
            assert _enter(at, "anna")
            assert _enter(at, "bert")

    def test_who_does_not_enter_again_is_out(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _enter(at, "anna")
        _enter(at, "bert", ttl=600)

        bench.pass_ttl()

        assert [_enter(at, "carl"), _enter(at, "anna")] == [True, False]

    def test_who_leaves_makes_room(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _enter(at, "anna")
        _enter(at, "bert")

        assert not _enter(at, "anna", ttl=0)

        assert _enter(at, "carl")
        assert not _enter(at, "anna")

    def test_leaving_when_not_inside_does_nothing(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        _enter(at, "anna", limit=1)

        assert not _enter(at, "bert", limit=1, ttl=0)

        assert not _enter(at, "bert", limit=1)

    def test_semaphores_of_different_keys_do_not_meet(self, bench: CoordinatorBench) -> None:
        at = bench.connect()

        assert _enter(at, "anna", "one", limit=1)
        assert _enter(at, "anna", "two", limit=1)
        assert _enter(at, "bert", "three", limit=1)

    def test_of_many_who_enter_at_once_as_many_as_the_limit_get_in(self, bench: CoordinatorBench) -> None:
        owners = [str(number) for number in range(8)]
        entering = [
            bench.background(partial(_enter, bench.connect(owner), owner, limit=3, ttl=600)) for owner in owners
        ]

        assert sum(bench.outcome(future) for future in entering) == 3


class SetTests(_Tests):
    """`remember` and `recall`."""

    def test_a_set_recalls_what_it_was_told_and_nothing_else(self, bench: CoordinatorBench) -> None:
        first, second = bench.connect("a"), bench.connect("b")

        first.remember("set", ["x", "naïve-🥬"], ttl=600, timeout=TIMEOUT)
        first.remember("other", ["z"], ttl=600, timeout=TIMEOUT)

        assert second.recall("set", ["x", "y", "z", "naïve-🥬"], timeout=TIMEOUT) == {"x", "naïve-🥬"}
        assert second.recall("unknown", ["x"], timeout=TIMEOUT) == set()
        assert second.recall("set", [], timeout=TIMEOUT) == set()

    def test_each_member_is_forgotten_after_its_own_time(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        at.remember("set", ["long"], ttl=600, timeout=TIMEOUT)
        at.remember("set", ["short"], ttl=TTL, timeout=TIMEOUT)

        bench.pass_ttl()

        assert at.recall("set", ["short", "long"], timeout=TIMEOUT) == {"long"}

    def test_remembering_again_counts_from_now(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        at.remember("set", ["x"], ttl=TTL, timeout=TIMEOUT)

        at.remember("set", ["x"], ttl=600, timeout=TIMEOUT)

        bench.pass_ttl()
        assert at.recall("set", ["x"], timeout=TIMEOUT) == {"x"}

    def test_no_time_at_all_removes(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        at.remember("set", ["x", "y"], ttl=600, timeout=TIMEOUT)

        at.remember("set", ["x", "never there"], ttl=0, timeout=TIMEOUT)

        assert at.recall("set", ["x", "y", "never there"], timeout=TIMEOUT) == {"y"}

    def test_a_set_may_be_large(self, bench: CoordinatorBench) -> None:
        at = bench.connect()
        members = {str(number) for number in range(2000)}

        at.remember("set", members, ttl=600, timeout=TIMEOUT)

        assert at.recall("set", members | {"not in it"}, timeout=TIMEOUT) == members


class ConnectionTests(_Tests):
    """`close`."""

    def test_closing_twice_or_before_opening_does_nothing(self, bench: CoordinatorBench) -> None:
        unopened, at = bench.unopened(), bench.connect()

        unopened.close()
        at.close()
        at.close()

    def test_a_closed_connection_says_so(self, bench: CoordinatorBench) -> None:
        at = bench.connect()

        at.close()

        with pytest.raises(StoreError):
            _lease(at, "anna")


class CoordinatorContract(LeaseTests, BucketTests, SemaphoreTests, SetTests, ConnectionTests):
    """Subclass it with `harness` set to the plugin's harness module."""
