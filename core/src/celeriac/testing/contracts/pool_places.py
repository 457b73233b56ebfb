"""The contract of pools that tell where their runs are."""

from __future__ import annotations

import pytest

from celeriac.spi.pool import Places
from celeriac.testing.contracts.pool_rig import PoolRig, needs_slots, rig
from celeriac.testing.harness import PoolHarness

__all__ = ["PlacesContract"]

SLOTS = 4
LOAD = 300


class PlacesContract:
    """What `place` answers, and when."""

    def test_each_run_has_a_place_of_its_own_and_what_waits_has_none(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            placer = _places(pool)
            needs_slots(pool, SLOTS)
            pool.submit(*pool.requests(SLOTS + 2, "gated"))
            running, waiting = pool.submitted[:SLOTS], pool.submitted[SLOTS:]
            pool.wait_begun(running)

            places = [placer.place(key) for key in running]

            assert None not in places
            assert len(set(places)) == SLOTS
            assert [placer.place(key) for key in waiting] == [None, None]
            if pool.pool.capabilities.processes:
                assert places == [pool.processes()[key] for key in running]

    def test_what_was_reported_has_no_place(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            placer = _places(pool)
            pool.submit(*pool.requests(LOAD))
            pool.wait_reported(pool.submitted)

            assert {placer.place(key) for key in pool.submitted} == {None}

    def test_the_place_is_known_when_the_start_is_told(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            _places(pool)
            pool.submit(*pool.requests(LOAD))
            pool.wait_reported(pool.submitted)

            assert None not in pool.places.values()
            if pool.pool.capabilities.processes:
                assert pool.places == pool.processes()

    def test_the_place_of_a_run_that_is_lost_is_known_when_its_start_is_told(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            _places(pool)
            if not pool.pool.capabilities.processes:
                pytest.skip("does not declare `processes`")
            pool.submit(*pool.requests(8, "leaves"))
            pool.wait_reported(pool.submitted)

            assert pool.places == pool.processes()

    def test_a_pool_that_is_not_at_work_has_no_place_for_anything(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, start=False) as pool:
            placer = _places(pool)
            before = placer.place(1)
            pool.start()
            pool.submit(one := pool.request())
            pool.wait_reported([one.key])
            pool.stop(pool.patience)

            assert (before, placer.place(one.key)) == (None, None)


def _places(pool: PoolRig) -> Places:
    if not isinstance(pool.pool, Places):
        pytest.skip("does not tell where its runs are")
    return pool.pool
