import threading

import pytest
from parts import make_request

from celeriac.model.message import Delivery
from celeriac.runtime.inflight import Held, Inflight


@pytest.fixture
def held(inflight):
    requests = [make_request(inflight.next_key()) for _ in range(3)]
    held = [Held(each, Delivery(message=each.message, queue="celery", tag=each.key)) for each in requests]
    inflight.add(held)
    return held


def test_what_is_added_is_held_until_it_is_removed(inflight, held):
    inflight.remove([1, 3, 99])

    assert len(inflight) == 1
    assert inflight.keys() == {2}
    assert inflight.get(2) is held[1]
    assert inflight.get(1) is None


def test_what_was_acknowledged_first_has_no_delivery(inflight, held):
    held[0].delivery = None

    assert inflight.deliveries() == [held[1].delivery, held[2].delivery]


def test_a_run_runs_from_its_start_to_its_end(inflight, held, clock):
    inflight.started(1)
    inflight.started(2)
    inflight.ended(1)
    clock.advance(3)

    assert inflight.running == 1
    assert (inflight.has_started(1), inflight.has_started(2)) == (False, True)
    assert inflight.since_last_start() == 3


def test_a_corrected_date_does_not_bend_how_long_nothing_started(inflight, clock):
    clock.correct(-86400)

    assert inflight.since_last_start() == 0


def test_who_waits_for_room_is_woken_by_a_removal(inflight, held):
    seen = []
    waiter = threading.Thread(target=lambda: seen.append(inflight.wait_until_at_most(1, 10)))
    waiter.start()

    inflight.remove([1, 2])
    waiter.join(10)

    assert seen == [True]


def test_waiting_for_room_ends_with_its_timeout(inflight, held):
    inflight.wake()

    assert inflight.wait_until_at_most(0, 0.01) is False


def test_what_runs_is_told_with_its_seconds(clock):
    inflight = Inflight(clock)
    inflight.add(Held(make_request(key), None) for key in (1, 2, 3))
    inflight.started(2)
    clock.advance(5)
    inflight.started(1)
    clock.advance(1)

    assert [(held.request.key, seconds) for held, seconds in inflight.runs()] == [(2, 6.0), (1, 1.0)]
    assert [inflight.running_for(key) for key in (1, 2, 3)] == [1.0, 6.0, None]
