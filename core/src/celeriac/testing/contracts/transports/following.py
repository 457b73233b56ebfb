"""Taking what follows in the step that settles: it is held like all else, and overtakes nothing."""

from __future__ import annotations

from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac.spi.transport import ChecksRevocations, Commits, Transport
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import Q, TransportBench, TransportTests, as_a, bodies, message

__all__ = ["Following"]


class Following(TransportTests):
    """For transports that declare `commits`: `settle_and_take` may take some of what follows, or none."""

    def test_what_follows_may_be_taken_in_the_step_that_settles_and_is_nowhere_else(
        self, bench: TransportBench
    ) -> None:
        transport = _taking(bench)
        bench.publish(transport, "x")
        verdict = Verdict(delivery=bench.take_one(transport), followups=_followups("a", "b"))

        refused, taken = as_a(Commits, transport).settle_and_take([verdict], [Q], limit=1, timeout=TIMEOUT)

        assert refused == []
        assert bodies(taken) in ([], ["a"])
        assert all((one.queue, one.deliveries) == (Q, 1) for one in taken)
        rest = bench.drain(transport)
        assert bodies(taken) + rest == ["a", "b"]
        bench.settle(transport, *taken)
        bench.assert_gone(transport)

    def test_what_was_taken_with_a_settlement_is_held_as_all_else(self, bench: TransportBench) -> None:
        bench.require("leases")
        transport = _taking(bench)
        bench.publish(transport, "x")
        verdict = Verdict(delivery=bench.take_one(transport), followups=_followups("a"))
        _, taken = as_a(Commits, transport).settle_and_take([verdict], [Q], limit=1, timeout=TIMEOUT)

        bench.lapse(transport)

        (again,) = bench.take(bench.connect("b"))
        assert bodies([again]) == ["a"]
        assert again.deliveries == 1 + len(taken)
        late = [Verdict(delivery=one) for one in taken]
        assert transport.settle(late, timeout=TIMEOUT) == late

    def test_what_follows_is_not_taken_before_what_waits(self, bench: TransportBench) -> None:
        transport = _taking(bench)
        bench.publish(transport, *"xy")
        verdict = Verdict(delivery=bench.take_one(transport), followups=_followups("z"))

        _, taken = as_a(Commits, transport).settle_and_take([verdict], [Q], limit=5, timeout=TIMEOUT)

        assert bodies(taken) == []
        assert bench.drain(transport) == ["y", "z"]

    def test_what_follows_a_refused_verdict_is_not_taken(self, bench: TransportBench) -> None:
        transport = _taking(bench)
        bench.publish(transport, "x")
        done = bench.take_one(transport)
        bench.settle(transport, done)
        verdict = Verdict(delivery=done, followups=_followups("a"))

        refused, taken = as_a(Commits, transport).settle_and_take([verdict], [Q], limit=5, timeout=TIMEOUT)

        assert (refused, taken) == ([verdict], [])
        assert bench.drain(transport) == []


def _taking(bench: TransportBench) -> Transport:
    """Return a transport that commits, and has all it needs to know to take in the same step."""
    bench.require("commits")
    transport = bench.connect("a")
    as_a(Commits, transport).commits_with(bench.connect_results())
    if isinstance(transport, ChecksRevocations):
        transport.checks_with(bench.connect_coordinator(), "revoked")
    return transport


def _followups(*texts: str) -> tuple[Message, ...]:
    return tuple(message(text) for text in texts)
