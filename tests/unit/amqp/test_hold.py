"""What a connection holds, for how long and where, and how long a server allows that."""

from __future__ import annotations

import logging

import pytest

from celeriac.model.message import Delivery, Message
from celeriac_amqp.hold import Hold
from celeriac_amqp.location import Location
from celeriac_amqp.timeouts import Timeouts

REASON = (
    "PRECONDITION_FAILED - delivery acknowledgement on channel 7 timed out. Timeout value used: {} ms. "
    "This timeout value can be configured, see consumers doc guide to learn more"
)


def delivery(hold: Hold, number: int, queue: str = "q") -> Delivery:
    return Delivery(message=Message(body=b"", routing_key=queue), queue=queue, tag=hold.tag(number))


def holding(*takes: tuple[float, list[int]]) -> Hold:
    """Return what holds deliveries of these numbers, taken at these moments."""
    hold = Hold()
    for moment, numbers in takes:
        hold.add([delivery(hold, number) for number in numbers], moment)
    return hold


def old(hold: Hold, seconds: float, now: float) -> list[int]:
    return [each.tag[1] for each in hold.longer_than(seconds, now)]


def test_a_delivery_is_claimed_once() -> None:
    hold = holding((0.0, [1]))

    first, second = hold.claim(hold.tag(1)), hold.claim(hold.tag(1))

    assert first is not None
    assert (first.number, first.moved, second) == (1, None, None)


@pytest.mark.parametrize("tag", [("other", 1), 1, None, ("a", "b", "c")])
def test_tags_of_other_connections_are_refused(tag: object) -> None:
    assert holding((0.0, [1])).claim(tag) is None


def test_what_could_not_be_settled_is_held_as_before() -> None:
    hold = holding((0.0, [1]))
    hold.move(1, 9, 0.0)
    claim = hold.claim(hold.tag(1))
    assert claim is not None

    hold.restore([claim])

    again = hold.claim(hold.tag(1))
    assert again is not None
    assert again.moved == 9


def test_what_was_taken_longer_ago_is_told_until_it_is_settled() -> None:
    hold = holding((0.0, [1, 2]), (5.0, [4, 3]), (9.0, [5]))

    assert old(hold, 10.0, 9.0) == []
    assert old(hold, 10.0, 10.0) == [1, 2]
    hold.claim(hold.tag(1))
    assert old(hold, 10.0, 15.0) == [2, 4, 3]
    assert old(hold, 10.0, 20.0) == [2, 4, 3, 5]


def test_what_was_moved_counts_from_then() -> None:
    hold = holding((0.0, [1, 2]))

    hold.move(1, 100, 10.0)

    assert old(hold, 10.0, 12.0) == [2]
    assert sorted(old(hold, 10.0, 20.0)) == [1, 2]


def test_takes_within_a_moment_count_from_the_first_of_them() -> None:
    hold = Hold()
    for number in range(1, 1001):
        hold.add([delivery(hold, number)], number / 1000)

    assert len(hold._takes) <= 11
    assert old(hold, 10.0, 10.4)[:300] == list(range(1, 301))
    assert len(old(hold, 10.0, 11.0)) == 1000


def test_without_ages_nothing_is_noted_of_takes() -> None:
    hold = Hold(ages=False)

    hold.add([delivery(hold, 1)], 0.0)

    assert not hold._takes
    assert hold.claim(hold.tag(1)) is not None


def test_moving_tells_where_a_delivery_lay_before() -> None:
    hold = holding((0.0, [1]))

    first, second = hold.move(1, 100), hold.move(1, 101)

    assert first is not None
    assert second is not None
    assert (first.moved, second.moved) == (None, 100)
    assert hold.moved() == 1
    claim = hold.claim(hold.tag(1))
    assert claim is not None
    assert claim.moved == 101
    hold.forget([claim])
    assert hold.moved() == 0


def test_what_somebody_settles_is_not_moved() -> None:
    hold = holding((0.0, [1]))
    hold.claim(hold.tag(1))

    assert hold.move(1, 100) is None
    assert hold.moved() == 0


def test_what_is_held_counts_for_the_queue_it_came_from_wherever_it_lies() -> None:
    hold = Hold()
    hold.add([delivery(hold, 1, "a"), delivery(hold, 2, "a"), delivery(hold, 3, "b")])
    hold.move(1, 100)

    assert hold.counts() == {"a": 2, "b": 1}


def test_a_time_out_is_learnt_from_what_the_server_says_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    timeouts, here = Timeouts(), Location(label="amqp://here", nodes=(("h", 1),))
    caplog.set_level(logging.WARNING)

    assert timeouts.known(here) is None
    assert timeouts.learn(here, REASON.format(60000)) == 60.0
    assert timeouts.learn(here, REASON.format(90000)) == 90.0
    assert timeouts.learn(here, REASON.format(60000)) == 60.0

    assert timeouts.known(here) == 60.0
    assert timeouts.known(Location(label="amqp://here", nodes=(("h", 1),), virtual_host="v")) is None
    [warning] = caplog.messages
    assert "longer than 60 s" in warning
    assert "has held for 30 s" in warning
    assert "`hold_seconds`" in warning
    assert timeouts.learn(here, REASON.format(5000)) == 5.0
    assert timeouts.known(here) == 5.0
    assert len(caplog.messages) == 2


def test_a_channel_that_was_closed_for_something_else_says_nothing_of_time() -> None:
    timeouts, here = Timeouts(), Location(label="amqp://here", nodes=(("h", 1),))

    assert timeouts.learn(here, "PRECONDITION_FAILED - unknown delivery tag 1 in 60 ms") is None
    assert timeouts.known(here) is None
