"""Leases: who is alive keeps what it holds, who is not loses it, and nobody settles what is no longer its own."""

from __future__ import annotations

import pytest

from celeriac.model.outcome import Action, Verdict
from celeriac.spi.transport import Leases
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import Q, TransportBench, TransportTests, as_a, bodies

__all__ = ["Leasing"]


class Leasing(TransportTests):
    """For transports that declare `leases`."""

    def test_what_is_held_stays_held_while_the_lease_lasts(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        bench.take(transport)

        bench.pass_time(bench.lease_seconds(transport) * 0.5)

        bench.assert_empty(other)

    def test_what_a_lapsed_lease_held_returns_with_its_delivery_count_raised(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, *"abc")
        bench.take(transport, 2)

        bench.lapse(transport)

        taken = bench.take(other, 3)
        assert bodies(taken) == ["a", "b", "c"]
        assert [delivery.deliveries for delivery in taken] == [2, 2, 1]

    def test_a_blocked_receiver_gets_what_returns(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        bench.take(transport)

        receiving = bench.background(lambda: other.receive([Q], limit=1, timeout=600))

        step = bench.lease_seconds(transport) / 10
        assert bodies(bench.drive(receiving, step=step)) == ["x"]

    def test_a_renewed_lease_keeps_what_it_holds(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        delivery = bench.take_one(transport)

        for _ in range(5):
            bench.pass_time(bench.lease_seconds(transport) / 3)
            assert as_a(Leases, transport).renew(timeout=TIMEOUT)
            bench.assert_empty(other)

        bench.settle(transport, delivery)
        bench.lapse(transport)
        bench.assert_empty(other)

    def test_one_renewal_covers_all_that_its_holder_has_and_nothing_else(self, bench: TransportBench) -> None:
        bench.require("leases")
        alive, dead, other = bench.connect("a"), bench.connect("b"), bench.connect("c")
        bench.publish(alive, *"abcd")
        mine = bench.take(alive, 2)
        bench.take(dead, 2)

        for _ in range(4):
            bench.pass_time(bench.lease_seconds(alive) / 3)
            as_a(Leases, alive).renew(timeout=TIMEOUT)

        assert bodies(bench.take(other, 2)) == ["c", "d"]
        bench.settle(alive, *mine)

    def test_what_its_holder_does_not_know_of_goes_back_uncounted(self, bench: TransportBench) -> None:
        bench.require("leases")
        before, other = bench.connect("a"), bench.connect("b")
        bench.publish(before, *"abc")
        known, _ = bench.take(before, 2)  # the second was in an answer that a broken connection swallowed
        elsewhere = bench.take_one(other)

        again = bench.connect("a")
        handed_back = as_a(Leases, again).retain([known], timeout=TIMEOUT)

        returned = bench.take_one(again)
        assert (handed_back, bodies([returned]), returned.deliveries) == (1, ["b"], 1)
        bench.settle(again, known, returned)
        bench.settle(other, elsewhere)
        bench.assert_empty(again)

    def test_renewing_tells_that_the_lease_had_lapsed_and_starts_a_new_one(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, *"ab")
        bench.take(transport)
        leases = as_a(Leases, transport)

        bench.lapse(transport)

        assert not leases.renew(timeout=TIMEOUT)
        assert leases.renew(timeout=TIMEOUT)
        assert bodies(bench.take(transport, 2)) == ["a", "b"]
        bench.assert_empty(other)

    def test_renewing_tells_it_also_when_another_has_taken_the_work_over(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        bench.take(transport)
        bench.lapse(transport)

        taken_over = bench.take_one(other)

        assert not as_a(Leases, transport).renew(timeout=TIMEOUT)
        bench.settle(other, taken_over)

    def test_renewing_works_while_receive_is_blocked(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport = bench.connect()
        bench.publish(transport, "x")
        delivery = bench.take_one(transport)
        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=600))
        assert bench.is_blocked(receiving)

        renewing = bench.background(lambda: as_a(Leases, transport).renew(timeout=TIMEOUT))

        assert bench.outcome(renewing)
        bench.settle(transport, delivery)
        transport.wake()
        bench.outcome(receiving)

    def test_an_idle_holder_takes_messages_under_a_lease_of_full_length(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "first")
        bench.settle(transport, bench.take_one(transport))
        bench.lapse(transport)
        bench.publish(transport, "second")

        bench.take(transport)

        bench.pass_time(bench.lease_seconds(transport) * 0.5)
        bench.assert_empty(other)
        bench.lapse(transport)
        assert bodies(bench.take(other)) == ["second"]

    @pytest.mark.parametrize("action", list(Action))
    def test_a_verdict_after_the_lease_lapsed_is_refused(self, bench: TransportBench, action: Action) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        stale = Verdict(delivery=bench.take_one(transport), action=action, reason="late")
        bench.lapse(transport)

        refused = transport.settle([stale], timeout=TIMEOUT)

        assert refused == [stale]
        assert bench.drain(other) == ["x"]

    @pytest.mark.parametrize("action", list(Action))
    def test_a_verdict_after_another_took_over_is_refused(self, bench: TransportBench, action: Action) -> None:
        bench.require("leases")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        stale = Verdict(delivery=bench.take_one(transport), action=action, reason="late")
        bench.lapse(transport)
        current = bench.take_one(other)

        refused = transport.settle([stale], timeout=TIMEOUT)

        assert refused == [stale]
        bench.settle(other, current)
        bench.assert_empty(transport)

    def test_a_stale_verdict_is_refused_although_the_same_holder_took_the_message_again(
        self, bench: TransportBench
    ) -> None:
        bench.require("leases")
        transport = bench.connect()
        bench.publish(transport, "x")
        stale = Verdict(delivery=bench.take_one(transport))
        bench.lapse(transport)
        as_a(Leases, transport).renew(timeout=TIMEOUT)
        current = bench.take_one(transport)

        refused = transport.settle([stale], timeout=TIMEOUT)

        assert refused == [stale]
        bench.settle(transport, current)

    def test_a_holder_may_settle_over_another_connection_of_its_own(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport = bench.connect("a")
        bench.publish(transport, *"ab")
        first, second = bench.take(transport, 2)

        bench.settle(bench.connect("a"), first)
        transport.close()
        bench.settle(bench.connect("a"), second)

        bench.assert_empty(bench.connect("b"))

    def test_renewing_over_one_connection_keeps_what_another_took(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport, second, other = bench.connect("a"), bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        delivery = bench.take_one(transport)

        for _ in range(4):
            bench.pass_time(bench.lease_seconds(transport) / 3)
            assert as_a(Leases, second).renew(timeout=TIMEOUT)

        bench.assert_empty(other)
        bench.settle(transport, delivery)
