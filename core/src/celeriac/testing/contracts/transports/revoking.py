"""Revocations: a delivery is `unrevoked` only if nothing was revoked when it was taken."""

from __future__ import annotations

from celeriac.spi.transport import ChecksRevocations, Transport
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import TransportBench, TransportTests, as_a

__all__ = ["Revoking"]

_SET = "revoked"
_A_DAY = 86400.0


class Revoking(TransportTests):
    """For transports that declare `revocations`."""

    def test_it_looks_at_the_coordinator_of_the_same_address_and_at_no_other(self, bench: TransportBench) -> None:
        bench.require("revocations")
        checks = as_a(ChecksRevocations, bench.connect())

        with TransportBench(bench.module) as elsewhere:
            assert checks.checks_with(bench.connect_coordinator(), _SET)
            assert not checks.checks_with(elsewhere.connect_coordinator(), _SET)

    def test_who_did_not_ask_it_to_look_is_told_nothing(self, bench: TransportBench) -> None:
        bench.require("revocations")
        transport = bench.connect()
        bench.publish(transport, "x")

        assert not bench.take_one(transport).unrevoked

    def test_what_is_taken_while_nothing_was_revoked_is_unrevoked(self, bench: TransportBench) -> None:
        transport = _looking(bench)
        bench.connect_coordinator().remember("another", ["x"], ttl=_A_DAY, timeout=TIMEOUT)
        bench.publish(transport, *"abc")

        assert [delivery.unrevoked for delivery in bench.take(transport, 3)] == [True] * 3

    def test_what_is_taken_after_a_revocation_is_to_be_asked_about(self, bench: TransportBench) -> None:
        transport, coordinator = _looking(bench), bench.connect_coordinator()
        bench.publish(transport, *"ab")
        before = bench.take_one(transport)

        coordinator.remember(_SET, ["b"], ttl=_A_DAY, timeout=TIMEOUT)

        assert before.unrevoked
        assert not bench.take_one(transport).unrevoked

    def test_a_blocked_receiver_looks_when_it_takes(self, bench: TransportBench) -> None:
        transport, coordinator = _looking(bench), bench.connect_coordinator()
        receiving = bench.background(lambda: transport.receive(["q"], limit=1, timeout=60))
        assert bench.is_blocked(receiving)

        coordinator.remember(_SET, ["x"], ttl=_A_DAY, timeout=TIMEOUT)
        bench.publish(bench.connect("b"), "x")

        assert [delivery.unrevoked for delivery in bench.outcome(receiving)] == [False]

    def test_what_is_taken_after_the_last_revocation_was_forgotten_is_unrevoked(self, bench: TransportBench) -> None:
        transport, coordinator = _looking(bench), bench.connect_coordinator()
        coordinator.remember(_SET, ["a", "b"], ttl=_A_DAY, timeout=TIMEOUT)
        bench.publish(transport, *"xy")
        coordinator.remember(_SET, ["a"], ttl=0, timeout=TIMEOUT)
        first = bench.take_one(transport)

        coordinator.remember(_SET, ["b"], ttl=0, timeout=TIMEOUT)

        assert not first.unrevoked
        assert bench.take_one(transport).unrevoked


def _looking(bench: TransportBench) -> Transport:
    """Return a transport that was told to look."""
    bench.require("revocations")
    transport = bench.connect()
    assert as_a(ChecksRevocations, transport).checks_with(bench.connect_coordinator(), _SET)
    return transport
