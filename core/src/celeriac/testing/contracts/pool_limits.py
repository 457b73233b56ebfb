"""The contract of pools that declare `soft_limits` or `hard_limits`."""

from __future__ import annotations

import random

from celeriac.model.record import FAILURE, SUCCESS
from celeriac.testing.contracts.pool_rig import PoolRig, needs_slots, rig
from celeriac.testing.contracts.pool_tasks import BRIEF_SECONDS
from celeriac.testing.harness import PoolHarness

__all__ = ["LimitsContract"]

SLOTS = 4
SOFT, HARD = 0.2, 0.4
RACES = 200


class LimitsContract:
    """What time limits do, and what they leave alone."""

    def test_a_run_below_its_limits_is_left_alone(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*(pool.interruptible("brief", soft=60.0, hard=90.0) for _ in range(20)))
            pool.wait_reported(pool.submitted)

            assert {outcome.state for outcome in pool.outcomes} == {SUCCESS}

    # -- soft limits -------------------------------------------------------------------------------

    def test_a_run_that_does_not_catch_its_soft_limit_fails_with_it(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, needing="soft_limits") as pool:
            pool.submit(limited := pool.interruptible("gated", soft=SOFT))

            outcome = pool.outcome(limited)

            assert outcome.error.startswith(f"SoftTimeLimitExceeded({SOFT}")
            pool.wait_free(1.0)

    def test_a_run_that_catches_its_soft_limit_goes_on_and_is_told_once(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, needing="soft_limits") as pool:
            pool.submit(limited := pool.interruptible("catches", soft=SOFT))

            outcome = pool.outcome(limited)

            assert (outcome.state, outcome.reason) == (SUCCESS, f"caught ({SOFT},)")

    def test_a_soft_limit_does_not_reach_the_runs_that_follow(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, needing="soft_limits") as pool:
            pool.submit(pool.interruptible("gated", soft=SOFT), *(pool.interruptible("brief") for _ in range(20)))
            _, *others = pool.submitted
            pool.wait_reported(pool.submitted)

            assert {key for key, outcome in pool.by_key().items() if outcome.state == SUCCESS} == set(others)

    def test_a_soft_limit_does_not_reach_the_run_beside_it(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2, needing="soft_limits") as pool:
            needs_slots(pool, 2)
            pool.submit(beside := pool.interruptible("gated", gate="beside"))
            pool.submit(limited := pool.interruptible("gated", soft=SOFT))
            pool.outcome(limited)
            pool.open("beside")

            assert pool.outcome(beside).state == SUCCESS

    def test_soft_limits_that_fire_as_runs_end_harm_nobody(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, needing="soft_limits") as pool:
            pool.submit(*(pool.interruptible("brief", soft=seconds) for seconds in _about_the_run_time()))
            pool.wait_reported(pool.submitted)

            failed = [outcome.error for outcome in pool.outcomes if outcome.state == FAILURE]

            assert [error for error in failed if not error.startswith("SoftTimeLimitExceeded")] == []
            _check_sound(pool)

    # -- hard limits -------------------------------------------------------------------------------

    def test_a_run_that_reaches_its_hard_limit_is_ended_and_its_slot_is_free(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, needing="hard_limits") as pool:
            pool.submit(limited := pool.interruptible("gated", hard=HARD))
            pool.wait_started([limited.key])

            pool.wait_free(HARD + 1.0)

            assert pool.outcome(limited).error.startswith(f"TimeLimitExceeded({HARD}")

    def test_a_run_that_swallows_everything_is_ended_by_its_hard_limit(self, pool_harness: PoolHarness) -> None:
        """Where it cannot be ended but only left alone, what it brings later is told to nobody: the accounts show."""
        with rig(pool_harness, needing="hard_limits") as pool:
            soft = SOFT if pool.pool.capabilities.soft_limits else None
            pool.submit(limited := pool.interruptible("stubborn", soft=soft, hard=HARD))
            pool.wait_started([limited.key])

            pool.wait_free(HARD + 1.0)

            assert pool.outcome(limited).error.startswith("TimeLimitExceeded")

    def test_all_slots_may_reach_their_hard_limits_at_once(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, needing="hard_limits") as pool:
            pool.submit(*(pool.interruptible("gated", hard=HARD) for _ in range(2 * pool.slots)))
            pool.wait_reported(pool.submitted)

            assert {outcome.error[:17] for outcome in pool.outcomes} == {"TimeLimitExceeded"}
            _check_sound(pool)

    def test_a_hard_limit_does_not_reach_the_run_beside_it(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2, needing="hard_limits") as pool:
            needs_slots(pool, 2)
            pool.submit(beside := pool.interruptible("gated", gate="beside"))
            pool.submit(limited := pool.interruptible("gated", hard=HARD))
            pool.outcome(limited)
            pool.open("beside")

            assert pool.outcome(beside).state == SUCCESS

    def test_hard_limits_that_fire_as_runs_end_harm_nobody(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, needing="hard_limits") as pool:
            pool.submit(*(pool.interruptible("brief", hard=seconds) for seconds in _about_the_run_time()))
            pool.wait_reported(pool.submitted)

            failed = [outcome.error for outcome in pool.outcomes if outcome.state == FAILURE]

            assert [error for error in failed if not error.startswith("TimeLimitExceeded")] == []
            _check_sound(pool)


def _about_the_run_time() -> list[float]:
    chance = random.Random(5)
    return [BRIEF_SECONDS * chance.uniform(0.7, 1.4) for _ in range(RACES)]


def _check_sound(pool: PoolRig) -> None:
    """Check that every slot is there, and runs what it is given to its end."""
    pool.wait_free(1.0, pool.slots)
    pool.submit(*(after := [pool.interruptible("brief") for _ in range(2 * pool.slots)]))
    assert {pool.outcome(request).state for request in after} == {SUCCESS}
