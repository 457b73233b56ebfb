"""Settling: each verdict takes effect once, for the holder, or not at all."""

from __future__ import annotations

import pytest

from celeriac.model.outcome import Action, Verdict
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import ASIDE, LATER, Q, TransportBench, TransportTests, bodies

__all__ = ["Delaying", "Prioritising", "Settling"]


class Settling(TransportTests):
    """`settle`."""

    def test_an_acknowledged_message_is_gone(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport))

        bench.assert_gone(transport)

    def test_settling_nothing_refuses_nothing(self, bench: TransportBench) -> None:
        assert bench.connect().settle([], timeout=TIMEOUT) == []

    @pytest.mark.parametrize("counted", [True, False])
    def test_a_released_message_comes_back_before_younger_ones(self, bench: TransportBench, counted: bool) -> None:
        bench.require("releases_first")
        transport = bench.connect()
        bench.publish(transport, *"abc")
        first = bench.take_one(transport)

        bench.settle(transport, first, action=Action.RELEASE, counted=counted)

        assert bench.drain(transport) == ["a", "b", "c"]

    def test_several_released_messages_come_back_in_their_order(self, bench: TransportBench) -> None:
        bench.require("releases_first")
        transport = bench.connect()
        bench.publish(transport, *"abcde")
        held = bench.take(transport, 3)

        bench.settle(transport, *held, action=Action.RELEASE, counted=False)

        assert bench.drain(transport) == ["a", "b", "c", "d", "e"]

    def test_a_release_raises_the_delivery_count(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")

        for expected in (1, 2, 3):
            delivery = bench.take_one(transport)
            assert delivery.deliveries == expected
            bench.settle(transport, delivery, action=Action.RELEASE)

    def test_a_hand_back_of_unstarted_work_does_not_raise_the_delivery_count(self, bench: TransportBench) -> None:
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport), action=Action.RELEASE, counted=False)

        assert bench.take_one(other).deliveries == 1

    @pytest.mark.parametrize("action", ASIDE)
    def test_what_is_put_aside_is_not_delivered(self, bench: TransportBench, action: Action) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport), action=action, reason="because")

        bench.assert_gone(transport)

    @pytest.mark.parametrize("action", list(Action))
    def test_a_second_verdict_is_refused_and_without_effect(self, bench: TransportBench, action: Action) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")
        delivery = bench.take_one(transport)
        bench.settle(transport, delivery)
        late = Verdict(delivery=delivery, action=action, reason="late")

        refused = transport.settle([late], timeout=TIMEOUT)

        assert refused == [late]
        bench.assert_gone(transport)

    def test_two_verdicts_on_one_delivery_in_one_batch_count_as_one(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")
        delivery = bench.take_one(transport)
        release = Verdict(delivery=delivery, action=Action.RELEASE, reason="again")

        refused = transport.settle([Verdict(delivery=delivery), release], timeout=TIMEOUT)

        assert refused == [release]
        bench.assert_gone(transport)

    @pytest.mark.parametrize("action", list(Action))
    def test_another_holder_cannot_settle(self, bench: TransportBench, action: Action) -> None:
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        delivery = bench.take_one(transport)
        verdict = Verdict(delivery=delivery, action=action, reason="not yours")

        refused = other.settle([verdict], timeout=TIMEOUT)

        assert refused == [verdict]
        bench.assert_empty(other)
        bench.settle(transport, delivery)

    def test_a_verdict_on_an_earlier_delivery_is_refused_although_the_holder_has_the_message_again(
        self, bench: TransportBench
    ) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")
        earlier = bench.take_one(transport)
        bench.settle(transport, earlier, action=Action.RELEASE)
        again = bench.take_one(transport)
        late = Verdict(delivery=earlier)

        refused = transport.settle([late], timeout=TIMEOUT)

        assert refused == [late]
        bench.settle(transport, again)

    def test_one_refused_verdict_does_not_hinder_the_others(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, *"abcd")
        done, *held = bench.take(transport, 4)
        bench.settle(transport, done)
        late = Verdict(delivery=done)
        batch = [
            Verdict(delivery=held[0]),
            late,
            Verdict(delivery=held[1], action=Action.RELEASE),
            Verdict(delivery=held[2], action=Action.DEAD, reason="broken"),
        ]

        refused = transport.settle(batch, timeout=TIMEOUT)

        assert refused == [late]
        assert bodies(bench.take(transport)) == ["c"]
        bench.assert_empty(transport)

    def test_a_large_batch_is_settled_completely(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, *map(str, range(500)))

        bench.settle(transport, *bench.take(transport, 500))

        bench.assert_gone(transport)

    def test_what_a_closed_connection_held_returns_unless_a_lease_keeps_it(self, bench: TransportBench) -> None:
        transport, other = bench.connect("a"), bench.connect("b")
        if transport.capabilities.leases:
            pytest.skip("the transport declares leases: what is held is tied to them")
        bench.publish(transport, "x")
        bench.take_one(transport)

        transport.close()

        assert bench.take_one(other).deliveries == 2


class Delaying(TransportTests):
    """What is not due yet. For transports that declare `delays`."""

    def test_a_message_is_not_delivered_before_it_is_due(self, bench: TransportBench) -> None:
        bench.require("delays")
        transport = bench.connect()

        bench.publish(transport, "x", due=bench.clock.time() + LATER)

        bench.assert_empty(transport)
        bench.pass_time(LATER)
        assert bodies(bench.take(transport)) == ["x"]

    def test_delayed_messages_come_as_they_become_due(self, bench: TransportBench) -> None:
        bench.require("delays")
        transport = bench.connect()
        # The first delay may have a broker make what delays need, which takes its time.
        bench.publish(transport, "much later", due=bench.clock.time() + 3600)
        now = bench.clock.time()
        bench.publish(transport, "second", due=now + 2 * LATER)
        bench.publish(transport, "first", due=now + LATER)

        bench.publish(transport, "at once")

        for expected in ("at once", "first", "second"):
            taken = bench.take_one(transport)
            assert bodies([taken]) == [expected]
            bench.settle(transport, taken)
            bench.pass_time(LATER)

    def test_a_blocked_receiver_gets_a_message_when_it_becomes_due(self, bench: TransportBench) -> None:
        bench.require("delays")
        transport = bench.connect()
        bench.publish(transport, "x", due=bench.clock.time() + LATER)

        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=60))

        assert bodies(bench.drive(receiving)) == ["x"]

    def test_a_message_published_with_a_delay_ends_no_receive(self, bench: TransportBench) -> None:
        bench.require("delays")
        transport, other = bench.connect("a"), bench.connect("b")
        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=60))

        bench.publish(other, "much later", due=bench.clock.time() + 3600)

        assert bench.is_blocked(receiving)
        transport.wake()
        bench.outcome(receiving)

    def test_a_release_may_be_delayed(self, bench: TransportBench) -> None:
        bench.require("delays")
        transport = bench.connect()
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport), action=Action.RELEASE, delay=LATER)

        bench.assert_empty(transport)
        bench.pass_time(LATER)
        assert bench.take_one(transport).deliveries == 2


class Prioritising(TransportTests):
    """Which of several waiting messages comes first. For transports that declare `priorities`."""

    def test_a_higher_priority_comes_first_and_equal_ones_in_order(self, bench: TransportBench) -> None:
        bench.require("priorities")
        transport = bench.connect()
        top = (bench.capabilities.priorities - 1) * bench.capabilities.priority_step
        for number, priority in enumerate([0, top, 0, top, 0]):
            bench.publish(transport, f"{number}", priority=priority)

        assert bench.drain(transport) == ["1", "3", "0", "2", "4"]

    def test_every_declared_level_is_told_apart(self, bench: TransportBench) -> None:
        bench.require("priorities")
        transport = bench.connect()
        step = bench.capabilities.priority_step
        levels = range(0, bench.capabilities.priorities * step, step)
        for level in levels:
            bench.publish(transport, str(level), priority=level)

        assert bench.drain(transport) == [str(level) for level in reversed(levels)]

    def test_the_priority_is_kept_and_a_higher_one_than_declared_is_no_error(self, bench: TransportBench) -> None:
        bench.require("priorities")
        transport = bench.connect()

        bench.publish(transport, "low", priority=0)
        bench.publish(transport, "high", priority=255)

        taken = bench.take(transport, 2)
        assert bodies(taken) == ["high", "low"]
        assert taken[0].message.priority == 255

    def test_a_released_message_returns_to_its_priority(self, bench: TransportBench) -> None:
        bench.require("priorities")
        bench.require("releases_first")
        transport = bench.connect()
        top = (bench.capabilities.priorities - 1) * bench.capabilities.priority_step
        bench.publish(transport, "low 1", "low 2")
        held = bench.take_one(transport)
        bench.publish(transport, "high", priority=top)

        bench.settle(transport, held, action=Action.RELEASE)

        assert bench.drain(transport) == ["high", "low 1", "low 2"]
