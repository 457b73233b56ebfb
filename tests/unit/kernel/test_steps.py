"""What the author of one step sees."""

from __future__ import annotations

import math

import pytest

from celeriac.errors import GraphError, UndeclaredNeed, UndeclaredProvide
from celeriac.kernel.steps import Boot, Deadline, Key, Step, origin
from celeriac.testing.clock import VirtualClock

HUB: Key[str] = Key("hub")
POOL: Key[list[str]] = Key("pool")


class PoolStep(Step):
    name = "pool"
    needs = (HUB,)
    provides = (POOL,)

    def start(self, boot: Boot) -> None:
        pool = [boot.get(HUB)]
        boot.defer(pool.clear)
        boot.provide(POOL, pool)


def test_keys_of_one_name_are_equal_wherever_they_are_made() -> None:
    made_elsewhere = Key[str]("hub")

    assert made_elsewhere == HUB
    assert {made_elsewhere: 1}[HUB] == 1
    assert Key("pool") != HUB


def test_a_step_can_be_tested_alone() -> None:
    boot = Boot(PoolStep(), {HUB: "the hub"})

    boot.step.start(boot)
    boot.finish()

    assert boot.values[POOL] == ["the hub"]
    boot.cleanups[-1]()
    assert boot.values[POOL] == []


def test_a_boot_of_its_own_has_no_deadline() -> None:
    boot = Boot(PoolStep(), {})

    assert boot.deadline == math.inf
    assert boot.remaining() == math.inf


def test_taking_what_is_not_declared_is_refused_though_it_is_there() -> None:
    boot = Boot(PoolStep(), {HUB: "the hub", Key("clock"): object()})

    with pytest.raises(UndeclaredNeed, match="Boot step 'pool' takes 'clock' without declaring it"):
        boot.get(Key("clock"))


def test_providing_what_is_not_declared_is_refused() -> None:
    boot = Boot(PoolStep(), {HUB: "the hub"})

    with pytest.raises(UndeclaredProvide, match="provides without declaring it 'clock'") as caught:
        boot.provide(Key("clock"), object())

    assert (caught.value.step, caught.value.key) == ("pool", "clock")
    assert Key("clock") not in boot.values


def test_declaring_what_is_not_provided_is_refused() -> None:
    boot = Boot(PoolStep(), {HUB: "the hub"})

    with pytest.raises(UndeclaredProvide, match="declares but never provides 'pool'"):
        boot.finish()


def test_providing_twice_is_refused_and_the_first_value_stays() -> None:
    boot = Boot(PoolStep(), {})
    boot.provide(POOL, ["first"])

    with pytest.raises(GraphError, match="provides 'pool' twice"):
        boot.provide(POOL, ["second"])

    assert boot.values[POOL] == ["first"]


def test_nothing_can_be_provided_or_deferred_after_the_start() -> None:
    boot = Boot(PoolStep(), {HUB: "the hub"})
    boot.step.start(boot)
    boot.finish()

    with pytest.raises(GraphError, match=r"'pool' called boot\.provide after its start was over"):
        boot.provide(POOL, [])
    with pytest.raises(GraphError, match=r"'pool' called boot\.defer after its start was over"):
        boot.defer(list)
    assert boot.get(HUB) == "the hub"


def test_a_deadline_counts_down_to_zero_and_no_further() -> None:
    clock = VirtualClock()
    deadline = Deadline(clock, 10.0)

    clock.advance(4.0)
    left = deadline.remaining()
    clock.advance(60.0)

    assert left == 6.0
    assert deadline.remaining() == 0.0
    assert deadline.passed()


def test_a_deadline_can_be_drawn_nearer_but_not_put_off() -> None:
    deadline = Deadline(VirtualClock(), 10.0)

    deadline.shorten(3.0)
    deadline.shorten(8.0)

    assert deadline.remaining() == 3.0
    assert deadline.seconds == 3.0


def test_a_step_is_shown_with_its_name_and_where_it_comes_from() -> None:
    assert repr(PoolStep()) == f"<boot step 'pool' of {__name__}.PoolStep>"
    assert origin(PoolStep) == origin(PoolStep()) == f"{__name__}.PoolStep"
