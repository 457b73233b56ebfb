import pytest

from celeriac.runtime.prefetch import LIMIT, Prefetch


def test_an_unmeasured_worker_holds_one_message_per_slot():
    assert Prefetch(4).target == 4


def test_long_tasks_are_never_hoarded():
    prefetch = Prefetch(4)

    prefetch.observe(runtimes_total=20.0, count=2)

    assert prefetch.target == 4


def test_tiny_tasks_come_by_the_hundred():
    prefetch = Prefetch(2)

    prefetch.observe(runtimes_total=0.1, count=100)

    assert prefetch.target == 200


def test_what_is_held_is_bounded_whatever_tasks_take():
    prefetch = Prefetch(8)

    prefetch.observe(runtimes_total=0.0, count=100)

    assert prefetch.target == LIMIT


def test_the_average_moves_towards_what_tasks_take_now():
    prefetch = Prefetch(1)
    prefetch.observe(runtimes_total=0.0001, count=1)
    before = prefetch.target

    for _ in range(100):
        prefetch.observe(runtimes_total=1.0, count=1)

    assert before > 500
    assert prefetch.target == 1


@pytest.mark.parametrize("multiplier", [None, 10, 0])
def test_a_stalled_worker_holds_no_more_than_it_runs_until_a_run_ends(multiplier):
    prefetch = Prefetch(2, multiplier)
    prefetch.observe(runtimes_total=0.001, count=100)

    prefetch.stall()
    stalled = prefetch.target
    prefetch.observe(runtimes_total=0.001, count=100)

    assert stalled == 2
    assert prefetch.target > 2


def test_a_multiplier_fixes_the_number():
    prefetch = Prefetch(3, multiplier=4)

    prefetch.observe(runtimes_total=100.0, count=1)

    assert prefetch.target == 12


def test_a_multiplier_of_zero_is_the_bound():
    assert Prefetch(3, multiplier=0).target == LIMIT


def test_large_bodies_are_held_by_their_bytes():
    prefetch = Prefetch(1)
    prefetch.observe(runtimes_total=0.001, count=1000)

    prefetch.weigh(bodies_total=10 * 2**20, count=10)

    assert prefetch.target == 64


def test_one_message_for_each_slot_is_held_whatever_its_size():
    prefetch = Prefetch(4)
    prefetch.observe(runtimes_total=0.001, count=1000)

    prefetch.weigh(bodies_total=2**30, count=1)

    assert prefetch.target == 4
