"""The contract of pools that declare `terminates`."""

from __future__ import annotations

import random
import time

from celeriac.model.record import FAILURE, SUCCESS
from celeriac.spi.pool import Kills
from celeriac.testing.contracts.pool_rig import PoolRig, needs, rig
from celeriac.testing.contracts.pool_tasks import BRIEF_SECONDS
from celeriac.testing.harness import PoolHarness

__all__ = ["EndingsContract"]

SLOTS = 4


class EndingsContract:
    """What `terminate` ends, and what it does not."""

    races = 100
    """How many runs are terminated about when they end."""

    def test_a_pool_that_declares_to_terminate_can_and_no_other(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, start=False) as pool:
            assert isinstance(pool.pool, Kills) == pool.pool.capabilities.terminates

    def test_a_run_that_is_terminated_ends_as_revoked_and_its_slot_is_free(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            killer = _kills(pool)
            pool.submit(running := pool.interruptible("gated"))
            pool.wait_begun([running.key])

            ended = killer.terminate(running.key)

            assert ended
            pool.wait_free(1.0)
            assert pool.outcome(running).error.startswith("TaskRevokedError('terminated'")

    def test_a_run_that_swallows_everything_is_terminated(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            killer = _kills(pool)
            pool.submit(running := pool.interruptible("stubborn"))
            pool.wait_begun([running.key])

            ended = killer.terminate(running.key, signal="KILL")

            assert ended
            pool.wait_free(1.0)
            assert pool.outcome(running).state == FAILURE

    def test_what_waits_has_ended_or_was_never_there_is_not_terminated(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            killer = _kills(pool)
            pool.submit(over := pool.interruptible("quick"))
            pool.outcome(over)
            pool.submit(running := pool.interruptible("gated"), waiting := pool.interruptible("quick"))
            pool.wait_begun([running.key])

            answers = [killer.terminate(key) for key in (over.key, waiting.key, 999_999)]
            pool.open()

            assert answers == [False, False, False]
            assert {pool.outcome(request).state for request in (over, running, waiting)} == {SUCCESS}

    def test_a_second_termination_ends_nothing_else(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2) as pool:
            killer = _kills(pool)
            pool.submit(beside := pool.interruptible("gated", gate="beside"))
            pool.submit(running := pool.interruptible("gated"), following := pool.interruptible("brief"))
            pool.wait_begun([running.key])

            for _ in range(5):
                killer.terminate(running.key)
            pool.outcome(following)
            killer.terminate(running.key)
            pool.open("beside")

            assert {pool.outcome(request).state for request in (beside, following)} == {SUCCESS}

    def test_terminations_that_come_as_runs_end_harm_nobody(self, pool_harness: PoolHarness) -> None:
        chance = random.Random(7)
        with rig(pool_harness, SLOTS) as pool:
            killer = _kills(pool)
            pool.submit(*(pool.interruptible("brief") for _ in range(self.races)))
            for key in list(pool.submitted):
                pool.wait_started([key])
                time.sleep(chance.uniform(0.0, 1.5 * BRIEF_SECONDS))
                killer.terminate(key)
            pool.wait_reported(pool.submitted)

            failed = [outcome.error for outcome in pool.outcomes if outcome.state == FAILURE]

            assert [error for error in failed if not error.startswith("TaskRevokedError")] == []
            pool.wait_free(1.0, pool.slots)


def _kills(pool: PoolRig) -> Kills:
    needs(pool, "terminates")
    assert isinstance(pool.pool, Kills)
    return pool.pool
