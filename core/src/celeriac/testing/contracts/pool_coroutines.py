"""The contract of pools that declare `coroutines`."""

from __future__ import annotations

from celeriac.model.record import FAILURE, SUCCESS
from celeriac.testing.contracts.pool_rig import rig
from celeriac.testing.harness import PoolHarness

__all__ = ["CoroutinesContract"]

MANY = 300


class CoroutinesContract:
    """What `async def` tasks can rely on where they run side by side on one loop."""

    def test_as_many_coroutines_run_at_once_as_there_are_slots(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, MANY, needing="coroutines") as pool:
            pool.submit(*pool.requests(MANY + 1, "gated", on_loop=True))
            pool.wait_begun(pool.submitted[:MANY])

            assert pool.submitted[MANY] not in pool.started()

            pool.open()
            pool.wait_reported(pool.submitted)

    def test_coroutines_run_in_the_order_of_submission(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, needing="coroutines") as pool:
            pool.submit(*pool.requests(200, on_loop=True))
            pool.wait_reported(pool.submitted)

            assert pool.started() == pool.submitted

    def test_no_coroutine_sees_a_context_variable_of_another(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 8, needing="coroutines") as pool:
            pool.submit(*pool.requests(100, "notes", on_loop=True))
            pool.wait_reported(pool.submitted)

            assert {outcome.reason for outcome in pool.outcomes} == {"nothing"}

    def test_a_coroutine_that_raises_ends_its_own_run_and_costs_no_slot(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 4, needing="coroutines") as pool:
            pool.submit(*pool.requests(20, "breaks", on_loop=True))
            pool.wait_reported(pool.submitted)

            assert {outcome.state for outcome in pool.outcomes} == {FAILURE}
            pool.submit(*(gated := pool.requests(4, "gated", on_loop=True)))
            pool.wait_started([request.key for request in gated])

    def test_what_blocks_holds_up_no_coroutine(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 4, needing="coroutines") as pool:
            pool.submit(blocking := pool.request("gated"))
            pool.wait_begun([blocking.key])
            pool.submit(*(others := pool.requests(50, "brief", on_loop=True)))

            assert {pool.outcome(request).state for request in others} == {SUCCESS}
            assert blocking.key not in pool.reported()

    def test_what_is_finished_on_the_loop_is_reported_while_others_wait(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2, needing="coroutines") as pool:
            pool.submit(waiting := pool.request("gated", on_loop=True), *pool.requests(50, on_loop=True))

            pool.wait_reported(pool.submitted[1:])

            assert waiting.key not in pool.reported()

    def test_stop_gives_back_the_coroutines_that_do_not_end(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 4, needing="coroutines") as pool:
            pool.submit(*pool.requests(6, "gated", on_loop=True))
            pool.wait_begun(pool.submitted[:4])

            returned = pool.stop(0.1)

            assert sorted(returned) == pool.submitted
            assert pool.reported() == []
