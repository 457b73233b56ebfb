import pytest

from celeriac.runtime.rebalance import STALL_SECONDS, Rebalancer

pytestmark = pytest.mark.plugins


@pytest.fixture
def rebalancer(slots, inflight, prefetch, settler, store):
    settler.attach(store.transport, store.results, lambda _: None)
    return Rebalancer(slots, inflight, prefetch, settler)


@pytest.fixture
def behind(hold, slots, inflight):
    """Three tasks: one that runs, two that wait behind it in the pool."""
    first, *rest = hold(3)
    inflight.started(first.request.key)
    slots.submit([one.request for one in rest])


def test_what_waits_behind_long_tasks_is_handed_back_uncounted(rebalancer, behind, clock, store, settler):
    clock.advance(STALL_SECONDS)

    rebalancer.look()
    assert settler.flush(5)

    assert rebalancer.handed_back == 2
    assert [delivery.deliveries for delivery in store.take(5)] == [1, 1]


def test_no_more_is_fetched_than_runs_until_a_run_ends(rebalancer, behind, clock, prefetch):
    prefetch.observe(0.001, 100)
    clock.advance(STALL_SECONDS)

    rebalancer.look()

    assert prefetch.target == 1


def test_what_moves_is_left_alone(rebalancer, behind, clock):
    clock.advance(STALL_SECONDS * 0.9)

    rebalancer.look()

    assert rebalancer.handed_back == 0


def test_a_free_slot_is_no_reason(rebalancer, behind, clock, prefetch):
    prefetch.slots = 2
    clock.advance(STALL_SECONDS)

    rebalancer.look()

    assert rebalancer.handed_back == 0


def test_nothing_behind_the_running_tasks_is_nothing_to_hand_back(rebalancer, hold, inflight, clock):
    (only,) = hold()
    inflight.started(only.request.key)
    clock.advance(STALL_SECONDS)

    rebalancer.look()

    assert rebalancer.handed_back == 0


def test_what_the_pool_has_begun_in_the_meantime_is_not_handed_back(rebalancer, behind, slots, clock):
    slots.drain()
    clock.advance(STALL_SECONDS)

    rebalancer.look()

    assert rebalancer.handed_back == 0


def test_stopping_before_the_start_and_after_it_ends_the_thread(rebalancer, slots, inflight, prefetch, settler):
    Rebalancer(slots, inflight, prefetch, settler).stop(1)
    rebalancer.start()

    rebalancer.stop(5)

    assert not rebalancer._thread.is_alive()
