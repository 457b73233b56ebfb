"""The contract of pools that declare `resizes`."""

from __future__ import annotations

import random

from celeriac.spi.pool import Resizes
from celeriac.testing.contracts.pool_rig import PoolRig, needs, rig
from celeriac.testing.harness import PoolHarness

__all__ = ["SizesContract"]

LOAD = 1000


class SizesContract:
    """What `resize` does while the pool works."""

    def test_a_pool_that_declares_to_resize_can_and_no_other(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, start=False) as pool:
            assert isinstance(pool.pool, Resizes) == pool.pool.capabilities.resizes

    def test_a_pool_that_grows_runs_what_waited(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2) as pool:
            sizer = _resizes(pool)
            pool.submit(*pool.requests(5, "gated"))
            pool.wait_started(pool.submitted[:2])

            _resize(pool, sizer, 4)

            pool.wait_started(pool.submitted[:4])
            assert pool.slots == 4
            assert pool.submitted[4] not in pool.started()

    def test_a_pool_that_shrinks_ends_what_runs_and_then_runs_no_more_than_it_may(
        self, pool_harness: PoolHarness
    ) -> None:
        with rig(pool_harness, 4) as pool:
            sizer = _resizes(pool)
            pool.submit(*pool.requests(4, "gated"))
            pool.wait_started(pool.submitted)

            _resize(pool, sizer, 1)
            pool.open()
            pool.wait_reported(pool.submitted)
            before = len(pool.trace())
            pool.submit(*pool.requests(50, "brief"))
            pool.wait_reported(pool.submitted)

            assert pool.slots == 1
            assert max(pool.running(pool.trace()[before:])) == 1

    def test_a_pool_that_shrinks_starts_nothing_until_enough_has_ended(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 3) as pool:
            sizer = _resizes(pool)
            pool.submit(*(pool.request("gated", gate=f"gate-{n}") for n in range(4)))
            *running, waiting = pool.submitted
            pool.wait_started(running)

            _resize(pool, sizer, 2)
            pool.open("gate-0")
            pool.wait_reported(running[:1])
            began_early = waiting in pool.started()
            pool.open("gate-1")

            pool.wait_started([waiting])
            assert not began_early
            for n in (2, 3):
                pool.open(f"gate-{n}")

    def test_nothing_is_lost_or_doubled_by_resizing_under_load(self, pool_harness: PoolHarness) -> None:
        chance = random.Random(3)
        with rig(pool_harness, 2) as pool:
            sizer = _resizes(pool)
            for _ in range(20):
                pool.submit(*pool.requests(LOAD // 20))
                _resize(pool, sizer, chance.randint(1, 6))
            _resize(pool, sizer, 3)
            pool.wait_reported(pool.submitted)

            pool.wait_free(1.0, 3)
            assert pool.slots == 3

    def test_an_idle_pool_may_be_resized_and_stopped(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2) as pool:
            sizer = _resizes(pool)

            for slots in (6, 1, 1, 4):
                _resize(pool, sizer, slots)

            assert pool.stop(None) == []


def _resizes(pool: PoolRig) -> Resizes:
    needs(pool, "resizes")
    assert isinstance(pool.pool, Resizes)
    return pool.pool


def _resize(pool: PoolRig, sizer: Resizes, slots: int) -> None:
    pool.most_slots = max(pool.most_slots, slots)
    sizer.resize(slots)
