"""When the autoscaler grows and shrinks a pool, and what it says."""

from __future__ import annotations

import logging

import pytest
from parts import Slots, make_request

from celeriac.errors import TransportLost
from celeriac.runtime.inflight import Held, Inflight
from celeriac.runtime.pool_control import PoolControl
from celeriac.runtime.prefetch import Prefetch
from celeriac.spi.pool import Resizes
from celeriac.testing.clock import VirtualClock
from celeriac_autoscale.autoscaler import Autoscaler
from celeriac_autoscale.bounds import Bounds, parse_bounds


class SizedSlots(Slots, Resizes):
    def resize(self, concurrency):
        self.concurrency = concurrency


class Place:
    """A pool of four slots, and an autoscaler that looks when it is told to."""

    def __init__(self, most=20, fewest=1, slots=4):
        self.clock = VirtualClock()
        self.inflight = Inflight(self.clock)
        self.pool = SizedSlots(slots)
        self.prefetch = Prefetch(slots)
        self.at_broker = 0
        self.autoscaler = Autoscaler(
            Bounds(most, fewest),
            pool=PoolControl("slots", self.pool, self.inflight, self.prefetch),
            inflight=self.inflight,
            queued=lambda: self.at_broker,
            idle_seconds=30.0,
            clock=self.clock,
        )

    def hold(self, *, busy, waiting=0):
        self.inflight.remove(self.inflight.keys())
        self.inflight.add(Held(make_request(key), None) for key in range(busy + waiting))
        for key in range(busy):
            self.inflight.started(key)

    def look(self, seconds=1):
        self.clock.advance(seconds)
        self.autoscaler.look()
        return self.pool.concurrency


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "celeriac")
    return lambda: [record.getMessage() for record in caplog.records]


def test_it_grows_while_work_waits_and_every_slot_is_busy(lines):
    place = Place()
    place.hold(busy=4, waiting=120)

    sizes = [place.look(), place.look()]

    assert sizes == [8, 8], "the new slots have not begun: they are no reason for still more"
    assert place.prefetch.slots == 8
    assert lines() == ["autoscale: 4 -> 8 slots: 120 tasks wait and all slots are busy"]


def test_it_grows_by_no_more_than_what_waits_and_not_beyond_its_bound():
    place = Place(most=9)

    place.hold(busy=4, waiting=1)
    one_waits = place.look()
    place.hold(busy=5, waiting=50)
    fifty_wait = place.look()
    place.hold(busy=9, waiting=50)

    assert (one_waits, fifty_wait, place.look()) == (5, 9, 9)


def test_what_waits_at_the_broker_counts_too():
    place = Place()
    place.hold(busy=4)
    place.at_broker = 2

    assert place.look() == 6


def test_nothing_waits_so_busy_slots_are_no_reason_to_grow():
    place = Place()
    place.hold(busy=4)

    assert place.look() == 4


def test_it_shrinks_to_what_was_busy_once_that_has_lasted(lines):
    place = Place(fewest=2)
    place.hold(busy=3)

    before = [place.look() for _ in range(29)]
    place.hold(busy=1)
    after = place.look()

    assert set(before) == {4}
    assert after == 3
    assert lines() == ["autoscale: 4 -> 3 slots: no more than 3 were busy for 30 s"]
    assert [place.look(30), place.look(30)] == [2, 2]


def test_a_moment_when_all_were_busy_begins_the_wait_anew():
    place = Place()
    place.hold(busy=1)
    place.look(29)
    place.hold(busy=4)
    place.look()
    place.hold(busy=1)

    assert [place.look(29), place.look(1)] == [4, 1]


def test_what_waits_while_a_slot_is_free_keeps_every_slot():
    place = Place()
    place.hold(busy=1, waiting=1)

    assert [place.look(29), place.look(29)] == [4, 4]


def test_it_begins_within_its_bounds_and_stops():
    place = Place(most=3)
    place.autoscaler.start()
    place.autoscaler.stop(5)

    assert place.pool.concurrency == 3


def test_a_broker_that_gives_no_answer_changes_nothing():
    place = Place()
    place.hold(busy=4)

    def lost():
        raise TransportLost("gone")

    place.autoscaler._queued = lost
    with pytest.raises(TransportLost):
        place.look()
    assert place.pool.concurrency == 4


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("10,2", Bounds(10, 2)),
        ("2,10", Bounds(10, 2)),
        ("7", Bounds(7, 1)),
        ("5,0", Bounds(5, 1)),
        ("3,3", Bounds(3, 3)),
    ],
)
def test_bounds_are_read_as_the_field_writes_them(text, bounds):
    assert parse_bounds(text) == bounds


@pytest.mark.parametrize("text", ["", "a", "1,2,3", "0", "-1", "4,-1", "0,0"])
def test_what_are_no_bounds_is_refused(text):
    with pytest.raises(ValueError, match=r"not the most and the fewest|invalid literal"):
        parse_bounds(text)
