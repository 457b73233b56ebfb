"""The contract of pools: several in one process, and what they leave when they are gone."""

from __future__ import annotations

from celeriac.model.record import SUCCESS
from celeriac.testing.contracts.pool_rig import rig
from celeriac.testing.harness import PoolHarness

__all__ = ["LifetimesContract"]

SLOTS = 3


class LifetimesContract:
    """What pools of one process have to do with each other. `rig` sees that none leaves a thread or a process."""

    def test_a_second_pool_can_be_started_when_the_first_has_stopped(self, pool_harness: PoolHarness) -> None:
        for _ in range(3):
            with rig(pool_harness, SLOTS) as pool:
                pool.submit(*pool.requests(20))
                pool.wait_reported(pool.submitted)

                assert {outcome.state for outcome in pool.outcomes} == {SUCCESS}

    def test_two_pools_work_side_by_side(self, pool_harness: PoolHarness) -> None:
        """The one that started first is looked at again when the other has stopped."""
        with rig(pool_harness, SLOTS) as first:
            with rig(pool_harness, SLOTS) as second:
                for pool in (first, second):
                    pool.submit(*pool.requests(20))
                for pool in (first, second):
                    pool.wait_reported(pool.submitted)
            first.submit(*first.requests(20))
            first.wait_reported(first.submitted)

            assert {outcome.state for outcome in (*first.outcomes, *second.outcomes)} == {SUCCESS}

    def test_a_pool_that_stops_ends_the_processes_of_what_does_not_end(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, needing="processes") as pool:
            pool.submit(*pool.requests(pool.slots, "stubborn"))
            pool.wait_begun(pool.submitted)

            returned = pool.stop(0.1)

            assert sorted(returned) == pool.submitted
            assert pool.pids()
            pool.wait_alone()
