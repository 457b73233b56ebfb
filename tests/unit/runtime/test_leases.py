import threading

import pytest

from celeriac import events
from celeriac.errors import TransportLost
from celeriac.runtime.leases import LeaseKeeper


class Lease:
    """A lease that answers as it is told, and lasts 30 ms."""

    lease_seconds = 0.03

    def __init__(self, *answers):
        self.answers = list(answers)
        self.timeouts = []
        self.spent = threading.Event()

    def renew(self, *, timeout):
        self.timeouts.append(timeout)
        answer = self.answers.pop(0) if self.answers else True
        if not self.answers:
            self.spent.set()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def keep():
    """Keep a lease; what lapsed and what was lost is in the keeper's `told`."""
    keepers = []

    def keep(lease, *, holds=True):
        told, lost = [], threading.Event()

        def on_lost(error):
            told.append(error)
            lost.set()

        keeper = LeaseKeeper(lease, on_lapse=lambda: told.append("lapse"), on_lost=on_lost, sender="worker")
        keeper.told, keeper.lost = told, lost
        keepers.append(keeper)
        keeper.start(holds=holds)
        return keeper

    yield keep
    for keeper in keepers:
        keeper.stop(5)


def test_it_is_renewed_again_and_again(keep):
    lease = Lease(True, True, True)
    keeper = keep(lease, holds=False)

    assert lease.spent.wait(5)
    assert keeper.told == []


def test_what_is_held_already_is_renewed_at_once(keep):
    """The lease may have lapsed while the connection was being made anew."""
    lease = Lease(True)
    lease.lease_seconds = 600.0

    keep(lease)

    assert lease.spent.wait(5)


def test_a_lapse_is_told_and_renewing_goes_on(keep):
    told = []
    receiver = events.lease_lost.connect(lambda sender, held: told.append(sender))
    lease = Lease(False, True, False)

    keeper = keep(lease)
    assert lease.spent.wait(5)
    keeper.stop(5)
    events.lease_lost.disconnect(receiver)

    assert keeper.told == ["lapse", "lapse"]
    assert keeper.lapses == 2
    assert told == ["worker", "worker"]


def test_a_failure_now_and_then_is_outlasted(keep):
    lease = Lease(*[TransportLost("once"), True] * 4)

    keeper = keep(lease)
    assert lease.spent.wait(5)
    keeper.stop(5)

    assert keeper.told == []


def test_the_connection_is_given_up_after_three_failures_in_a_row(keep):
    lease = Lease(*[TransportLost("gone")] * 3)

    keeper = keep(lease)
    assert keeper.lost.wait(5)

    assert [type(error) for error in keeper.told] == [TransportLost]


def test_three_tries_that_take_all_their_time_end_before_the_lease_does(keep):
    lease = Lease(True)
    keep(lease)
    assert lease.spent.wait(5)

    interval = lease.lease_seconds / 3
    assert interval + 3 * lease.timeouts[0] + 2 * interval / 4 <= lease.lease_seconds + 1e-9


def test_a_defect_of_the_plugin_ends_the_connection_and_not_the_renewing_in_silence(keep):
    keeper = keep(Lease(ZeroDivisionError("a defect")))

    assert keeper.lost.wait(5)
    assert [type(error) for error in keeper.told] == [ZeroDivisionError]


def test_stopping_before_the_start_does_nothing():
    LeaseKeeper(Lease(), on_lapse=print, on_lost=print, sender=None).stop(1)
