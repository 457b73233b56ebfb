"""Leases of holders: adoption, lapse, restarts of the machine, and what a close leaves behind."""

from __future__ import annotations

import pytest

from celeriac.errors import StoreFull
from celeriac.model.outcome import Verdict
from celeriac.testing.clock import VirtualClock

SECONDS = 5.0


def _leases(transport) -> list[tuple[str, int]]:
    with transport._database.read("test", SECONDS) as connection:
        return connection.execute("SELECT holder, id FROM lease ORDER BY id").fetchall()


def test_a_reconnecting_transport_adopts_the_living_lease_of_its_holder(stores, message) -> None:
    before = stores.transport(holder="worker")
    before.publish([message("x")], timeout=SECONDS)
    (held,) = before.receive(["q"], limit=1, timeout=0)
    before.close()

    after = stores.transport(holder="worker")
    assert after.renew(timeout=SECONDS) is True

    assert after.settle([Verdict(delivery=held)], timeout=SECONDS) == []
    assert len(_leases(after)) == 1


def test_a_new_lease_has_a_greater_id(stores, clock: VirtualClock) -> None:
    transport = stores.transport()
    transport.renew(timeout=SECONDS)
    ((_, first),) = _leases(transport)
    clock.advance(31)

    assert transport.renew(timeout=SECONDS) is False

    ((_, second),) = _leases(transport)
    assert second > first
    assert transport.renew(timeout=SECONDS) is True


def test_a_lapse_that_a_take_noticed_is_told_at_the_next_renewal_and_everything_returns(
    stores, clock: VirtualClock, message
) -> None:
    transport = stores.transport()
    transport.publish([message("a"), message("b")], timeout=SECONDS)
    transport.receive(["q"], limit=1, timeout=0)
    clock.advance(31)
    (again,) = transport.receive(["q"], limit=1, timeout=0)
    assert again.deliveries == 2

    assert transport.renew(timeout=SECONDS) is False

    (depth,) = transport.depths(["q"], timeout=SECONDS)
    assert (depth.waiting, depth.held) == (2, 0)
    assert transport.settle([Verdict(delivery=again)], timeout=SECONDS) != []
    assert transport.renew(timeout=SECONDS) is True


def test_a_lease_from_before_a_restart_of_the_machine_has_lapsed(stores, message) -> None:
    """The monotonic clock begins anew, so a lease that seems to last for days is of before."""
    old = VirtualClock()
    old.advance(1_000_000)
    stores.clock = old
    before = stores.transport(holder="before")
    before.publish([message("x")], timeout=SECONDS)
    before.receive(["q"], limit=1, timeout=0)
    before.close()

    stores.clock = VirtualClock()
    after = stores.transport(holder="after")

    assert after.depths(["q"], timeout=SECONDS)[0].waiting == 1
    (taken,) = after.receive(["q"], limit=1, timeout=0)
    assert taken.deliveries == 2
    assert [holder for holder, _ in _leases(after)] == ["after"]


def test_a_corrected_date_ends_no_lease(stores, clock: VirtualClock, message) -> None:
    transport, other = stores.transport(holder="a"), stores.transport(holder="b")
    transport.publish([message("x")], timeout=SECONDS)
    (held,) = transport.receive(["q"], limit=1, timeout=0)

    clock.correct(86_400)
    assert other.receive(["q"], limit=1, timeout=0) == []
    clock.correct(-2 * 86_400)
    assert other.receive(["q"], limit=1, timeout=0) == []

    assert transport.settle([Verdict(delivery=held)], timeout=SECONDS) == []


def test_leases_of_different_lengths_live_side_by_side(stores, clock: VirtualClock, message) -> None:
    patient, hasty = stores.transport(holder="a", lease_seconds=300.0), stores.transport(holder="b", lease_seconds=1.0)
    patient.publish([message("x")], timeout=SECONDS)
    patient.receive(["q"], limit=1, timeout=0)
    clock.advance(200)

    assert hasty.receive(["q"], limit=1, timeout=0) == []


def test_a_close_with_nothing_held_leaves_no_lease_and_one_with_something_keeps_it(stores, message) -> None:
    watching = stores.transport(holder="watching")
    watching.publish([message("x")], timeout=SECONDS)
    idle, busy = stores.transport(holder="idle"), stores.transport(holder="busy")
    idle.renew(timeout=SECONDS)
    busy.receive(["q"], limit=1, timeout=0)

    idle.close()
    busy.close()

    assert [holder for holder, _ in _leases(watching)] == ["busy"]
    assert watching.receive(["q"], limit=1, timeout=0) == []


def test_what_an_undone_transaction_learnt_is_not_remembered(stores, message) -> None:
    transport = stores.transport(max_bytes=200_000)
    with pytest.raises(StoreFull):
        transport.publish([message("x" * 300_000, queue="never made")], timeout=SECONDS)

    transport.publish([message("x", queue="other")], timeout=SECONDS)
    transport.publish([message("y", queue="never made")], timeout=SECONDS)

    assert [depth.queue for depth in transport.depths(timeout=SECONDS)] == ["never made", "other"]
    assert len(transport.receive(["never made"], limit=1, timeout=0)) == 1


@pytest.mark.parametrize("moment", [0.1, 7.3, 123_456.789, 9_999_999.7])
def test_a_lease_lives_at_the_moment_it_begins_however_its_end_is_rounded(
    stores, clock: VirtualClock, message, moment: float
) -> None:
    clock.advance(moment)
    transport, other = stores.transport(lease_seconds=30.1), stores.transport(holder="b")
    transport.publish([message("x")], timeout=SECONDS)
    (held,) = transport.receive(["q"], limit=1, timeout=0)

    assert other.receive(["q"], limit=1, timeout=0) == []
    assert transport.depths(["q"], timeout=SECONDS)[0].held == 1
    assert transport.renew(timeout=SECONDS) is True
    assert transport.settle([Verdict(delivery=held)], timeout=SECONDS) == []


def test_a_lease_renewed_a_moment_after_another_process_looked_at_the_clock_has_not_lapsed(
    stores, clock: VirtualClock, message
) -> None:
    transport = stores.transport()
    transport.publish([message("x")], timeout=SECONDS)
    transport.receive(["q"], limit=1, timeout=0)
    stores.clock = VirtualClock()
    slower = stores.transport(holder="slower")
    clock.advance(0.01)
    transport.renew(timeout=SECONDS)

    assert slower.receive(["q"], limit=1, timeout=0) == []
    assert slower.depths(["q"], timeout=SECONDS)[0].held == 1
