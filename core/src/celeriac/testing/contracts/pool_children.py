"""The contract of pools that declare `processes` or `recycles`."""

from __future__ import annotations

import gc
import os
from collections import Counter

import pytest

from celeriac.model.record import FAILURE, SUCCESS
from celeriac.testing.contracts.pool_rig import rig
from celeriac.testing.harness import PoolHarness

__all__ = ["ChildrenContract", "open_descriptors"]

SLOTS = 4
ENOUGH_KIB = 1 << 34


class ChildrenContract:
    """What becomes of a run whose process dies, and how processes are replaced."""

    recycles = 300
    """How many processes one test uses up."""

    # -- processes that die ------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("task", "named"), [("killed", "SIGKILL"), ("segfaults", "SIGSEGV"), ("leaves", "3")], ids=lambda text: text
    )
    def test_a_run_whose_process_dies_fails_alone_and_says_of_what(
        self, pool_harness: PoolHarness, task: str, named: str
    ) -> None:
        with rig(pool_harness, 2, needing="processes") as pool:
            pool.submit(beside := pool.request("gated"))
            pool.wait_begun([beside.key])
            pool.submit(*pool.requests(20), dying := pool.request(task), *pool.requests(20))
            others = set(pool.submitted) - {dying.key}

            outcome = pool.outcome(dying)
            pool.open()
            pool.wait_reported(pool.submitted)

            assert outcome.error.startswith("WorkerLostError")
            assert named in outcome.error
            assert {key for key, outcome in pool.by_key().items() if outcome.state == SUCCESS} == others

    def test_a_pool_whose_processes_die_time_and_again_keeps_its_slots(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, needing="processes") as pool:
            for task in ("killed", "leaves", "quick") * 10:
                pool.submit(pool.request(task))
            pool.wait_reported(pool.submitted)

            assert Counter(outcome.state for outcome in pool.outcomes) == {FAILURE: 20, SUCCESS: 10}
            pool.wait_free(1.0, pool.slots)

    def test_a_task_runs_in_no_process_of_the_worker_s_own(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, needing="processes") as pool:
            pool.submit(*pool.requests(20))
            pool.wait_reported(pool.submitted)

            assert os.getpid() not in pool.pids()

    # -- processes that are replaced ---------------------------------------------------------------

    def test_a_process_is_replaced_after_so_many_tasks(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2, max_tasks_per_child=3, needing="recycles") as pool:
            pool.submit(*pool.requests(30, "pid"))
            pool.wait_reported(pool.submitted)

            runs = Counter(outcome.reason for outcome in pool.outcomes)

            assert max(runs.values()) == 3

    @pytest.mark.parametrize(("limit", "most"), [(1, 1), (ENOUGH_KIB, 8)], ids=["above", "below"])
    def test_a_process_is_replaced_after_the_task_that_made_it_too_large(
        self, pool_harness: PoolHarness, limit: int, most: int
    ) -> None:
        with rig(pool_harness, max_memory_per_child=limit, needing="recycles") as pool:
            pool.submit(*pool.requests(8, "pid"))
            pool.wait_reported(pool.submitted)

            runs = Counter(outcome.reason for outcome in pool.outcomes)

            assert max(runs.values()) == most

    def test_memory_that_a_task_keeps_makes_its_process_too_large(self, pool_harness: PoolHarness) -> None:
        """Before it keeps any, a process of this program is far below a GiB; 32 MiB a task make it more."""
        with rig(pool_harness, max_memory_per_child=400 * 1024, needing="recycles") as pool:
            pool.submit(*pool.requests(15, "hoards"))
            pool.wait_reported(pool.submitted)

            assert len({outcome.reason for outcome in pool.outcomes}) > 1

    def test_replacing_many_processes_loses_no_run_and_leaves_no_descriptor(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2, max_tasks_per_child=1, needing="recycles") as pool:
            pool.submit(*pool.requests(20))
            pool.wait_reported(pool.submitted)
            descriptors = open_descriptors()

            pool.submit(*pool.requests(self.recycles))
            patience, pool.patience = pool.patience, 6 * pool.patience
            pool.wait_reported(pool.submitted)
            pool.patience = patience

            assert {outcome.state for outcome in pool.outcomes} == {SUCCESS}
            pool.wait_for(lambda: open_descriptors() <= descriptors + 2 * pool.slots, "descriptors are closed")


def open_descriptors() -> int:
    """How many descriptors this process has open; 0 where the system does not tell."""
    gc.collect()  # what other tests left to be collected shall not close, or stay, now
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
