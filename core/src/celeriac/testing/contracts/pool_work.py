"""The contract of pools: what is submitted runs in order, is reported once, and is given back by `drain` and `stop`."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import warnings

import pytest

from celeriac.errors import InternalError
from celeriac.model.record import FAILURE
from celeriac.spi.pool import RunsInMain
from celeriac.testing.contracts.pool_rig import MACHINE_SECONDS, PoolRig, needs_slots, rig
from celeriac.testing.contracts.pool_tasks import BIG_BYTES
from celeriac.testing.harness import PoolHarness

__all__ = ["WorkContract"]

SLOTS = 4
LOAD = 1000
SUBMITTERS = 4


class WorkContract:
    """What every pool does, whatever it declares."""

    # -- every request is reported once ------------------------------------------------------------

    def test_every_request_of_several_submitters_is_reported_once(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            _submit_from_threads(pool)

            pool.wait_reported(pool.submitted)

            assert len(pool.submitted) == LOAD

    def test_nothing_is_lost_or_doubled_by_draining_under_load(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            submitting = threading.Thread(target=_submit_from_threads, args=(pool,))
            submitting.start()

            pool.drain()
            while submitting.is_alive():
                pool.drain()
                time.sleep(0)  # greenlets have a turn only when somebody waits

            pool.wait_reported(set(pool.submitted) - set(pool.returned))
            assert not set(pool.returned) & set(pool.started())

    def test_nothing_is_lost_or_doubled_by_a_stop_under_load(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*pool.requests(LOAD))
            pool.wait_for(lambda: bool(pool.reported()), "the first outcome is reported")

            returned = pool.stop(pool.patience)

            assert not set(returned) & set(pool.started())

    def test_an_outcome_carries_the_key_and_the_result_of_its_run(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(quick := pool.request(), notes := pool.request("notes"))
            pool.wait_reported(pool.submitted)

            assert {outcome.key: outcome.reason for outcome in pool.outcomes} == {quick.key: "", notes.key: "nothing"}

    def test_megabytes_go_to_a_task_and_come_back(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*(pool.request("big", body=b"y" * (500_000 * size)) for size in range(8)))
            pool.wait_reported(pool.submitted)

            found = [outcome.reason.split(" ") for _, outcome in sorted(pool.by_key().items())]

            assert [size for size, _ in found] == [str(500_000 * size) for size in range(8)]
            assert {len(text) for _, text in found} == {BIG_BYTES}

    def test_no_task_sees_a_context_variable_of_another(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*pool.requests(50, "notes"))
            pool.wait_reported(pool.submitted)

            assert {outcome.reason for outcome in pool.outcomes} == {"nothing"}

    # -- when runs start ---------------------------------------------------------------------------

    def test_one_slot_starts_requests_in_the_order_of_submission(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            for size in (1, 7, 1, 50, 200):
                pool.submit(*pool.requests(size))
            pool.wait_reported(pool.submitted)

            assert pool.started() == pool.submitted

    def test_no_slot_overtakes_another_by_more_than_its_own_run(self, pool_harness: PoolHarness) -> None:
        """Requests are taken in order; between being taken and being told, other slots may be a little faster."""
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*pool.requests(LOAD))
            pool.wait_reported(pool.submitted)

            started = pool.started()

        assert [key for place, key in enumerate(started) if pool.submitted.index(key) - place >= pool.slots] == []

    def test_as_many_tasks_run_at_once_as_there_are_slots_and_no_more(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*(pool.request("gated", gate=f"gate-{n}") for n in range(pool.slots + 1)))
            *first, last = pool.submitted
            pool.wait_started(first)
            pool.open("gate-0")

            pool.wait_started([last])

            for n in range(1, pool.slots + 1):
                pool.open(f"gate-{n}")

    def test_no_task_waits_behind_a_running_one_while_a_slot_is_free(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, 2) as pool:
            needs_slots(pool, 2)
            pool.submit(pool.request("gated"), *pool.requests(200))
            long, *short = pool.submitted

            pool.wait_reported(short)

            assert long not in pool.reported()

    def test_a_slot_that_slept_wakes_for_a_single_request(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            for _ in range(50):
                pool.submit(one := pool.request())
                pool.wait_reported([one.key])

            assert len(pool.reported()) == 50

    def test_what_is_finished_is_reported_while_the_next_one_runs(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            pool.submit(*pool.requests(20), pool.request("gated"))
            *finished, running = pool.submitted

            pool.wait_reported(finished)

            assert running not in pool.reported()

    # -- submit and drain --------------------------------------------------------------------------

    def test_submit_does_not_wait_for_tasks(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*pool.requests(pool.slots, "gated"))
            submitting = threading.Thread(target=lambda: pool.submit(*pool.requests(5 * LOAD)), daemon=True)
            submitting.start()

            submitting.join(pool.patience)

            assert not submitting.is_alive()
            pool.drain()

    def test_drain_returns_in_order_what_has_not_started_and_the_pool_goes_on(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*pool.requests(pool.slots, "gated"))
            pool.wait_started(running := list(pool.submitted))
            pool.submit(*pool.requests(100))

            drained = pool.drain()
            pool.submit(*(later := pool.requests(10)))
            pool.open()

            assert drained == pool.submitted[pool.slots : pool.slots + 100]
            pool.wait_reported([*running, *(request.key for request in later)])

    def test_drained_requests_can_be_submitted_again(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            pool.submit(pool.request("gated"))
            pool.wait_started(pool.submitted)
            pool.submit(again := pool.request())
            drained = pool.drain()
            pool.open()

            pool.submit(again)

            assert drained == [again.key]
            pool.wait_reported([again.key])

    def test_an_idle_pool_has_nothing_to_drain_and_takes_an_empty_batch(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.submit()

            assert pool.drain() == []

    # -- stop --------------------------------------------------------------------------------------

    def test_stop_waits_for_what_runs_and_returns_what_has_not_started(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            pool.submit(pool.request("gated"), *pool.requests(3))
            running, *waiting = pool.submitted
            pool.wait_started([running])
            stopping = threading.Thread(target=lambda: pool.stop(None), daemon=True)
            stopping.start()

            stopping.join(0.05)
            waited = stopping.is_alive()
            pool.open()
            stopping.join(pool.patience)

            assert waited
            assert pool.returned == waiting
            assert pool.reported() == [running]

    @pytest.mark.parametrize("timeout", [0.0, 0.2])
    def test_stop_returns_at_its_deadline_what_does_not_end(self, pool_harness: PoolHarness, timeout: float) -> None:
        """The end of the abandoned run is awaited at the end of the test: it is not reported then."""
        with rig(pool_harness, SLOTS) as pool:
            pool.submit(*pool.requests(pool.slots, "gated"), *pool.requests(10))
            pool.wait_started(pool.submitted[: pool.slots])
            begun = time.monotonic()

            returned = pool.stop(timeout)

            assert timeout <= time.monotonic() - begun < timeout + 1.0
            assert sorted(returned) == pool.submitted
            assert pool.reported() == []

    def test_stop_of_an_idle_pool_returns_at_once_and_a_second_one_does_nothing(
        self, pool_harness: PoolHarness
    ) -> None:
        with rig(pool_harness, SLOTS) as pool:
            begun = time.monotonic()

            answers = [pool.stop(None), pool.stop(None)]

            assert answers == [[], []]
            assert time.monotonic() - begun < min(pool.patience, 1.0 + MACHINE_SECONDS)

    def test_stop_of_a_pool_that_was_never_started_does_nothing(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS, start=False) as pool:
            assert pool.stop(None) == []

    def test_nothing_that_comes_after_the_stop_runs(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness, SLOTS) as pool:
            pool.stop(None)

            with pytest.raises(InternalError):
                pool.pool.submit(pool.requests(3))

            assert pool.trace() == []

    def test_pools_that_were_stopped_leave_neither_threads_nor_descriptors(self, pool_harness: PoolHarness) -> None:
        _one_cycle(pool_harness)  # what is opened once and kept for good is opened now
        descriptors = _descriptors()

        for _ in range(20):
            _one_cycle(pool_harness)

        assert _descriptors() <= descriptors

    # -- an `execute` that raises ------------------------------------------------------------------

    @pytest.mark.parametrize("task", ["exits", "interrupted", "breaks", "unpicklable", "recursive", "hostile"])
    def test_an_execute_that_raises_ends_its_own_run_and_costs_no_slot(
        self, pool_harness: PoolHarness, task: str
    ) -> None:
        """In the main thread SystemExit and KeyboardInterrupt may leave through `serve`; `stop` returns the request."""
        with rig(pool_harness, SLOTS) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the file that one of the exceptions holds
            pool.submit(*pool.requests(2 * pool.slots, task))
            pool.wait_for(lambda: pool.exited is not None or len(pool.reported()) == 2 * pool.slots, "these runs end")
            left_by_serve = pool.exited is not None

            if left_by_serve:
                assert task in {"exits", "interrupted"}
                assert pool.stop(0) == pool.submitted[len(pool.reported()) :]
            else:
                assert {outcome.state for outcome in pool.outcomes} == {FAILURE}
                pool.submit(*pool.requests(pool.slots, "gated"))
                pool.wait_started(pool.submitted)

    # -- pools that run in the main thread ---------------------------------------------------------

    def test_interrupt_ends_serve_after_the_task_that_runs(self, pool_harness: PoolHarness) -> None:
        with rig(pool_harness) as pool:
            main = _runs_in_main(pool)
            pool.submit(pool.request("gated"), pool.request())
            running, waiting = pool.submitted
            pool.wait_started([running])

            main.interrupt()
            pool.open()
            pool.wait_reported([running])

            assert pool.stop(None) == [waiting]

    def test_interrupt_works_in_a_signal_handler(self, pool_harness: PoolHarness) -> None:
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
            pytest.skip("signals are handled in the main thread only")
        for _ in range(20):
            with rig(pool_harness, start=False) as pool:
                _serve_until_a_signal(pool)


def _submit_from_threads(pool: PoolRig) -> None:
    """Submit `LOAD` requests from several threads, in batches of one to a few dozens."""
    requests = pool.requests(LOAD)
    share = LOAD // SUBMITTERS

    def submit(mine: int) -> None:
        sizes = random.Random(mine)
        place, end = mine * share, (mine + 1) * share
        while place < end:
            size = min(sizes.choice([1, 1, 2, 10, 40]), end - place)
            pool.submit(*requests[place : place + size])
            place += size
            time.sleep(0)  # let the others have a turn

    threads = [threading.Thread(target=submit, args=(mine,)) for mine in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _one_cycle(harness: PoolHarness) -> None:
    with rig(harness, SLOTS) as pool:
        pool.submit(*pool.requests(10))
        pool.wait_reported(pool.submitted)


def _descriptors() -> int:
    """How many descriptors this process has open; 0 where the system does not tell."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def _runs_in_main(pool: PoolRig) -> RunsInMain:
    if not isinstance(pool.pool, RunsInMain):
        pytest.skip("does not run in the main thread")
    return pool.pool


def _serve_until_a_signal(pool: PoolRig) -> None:
    """Serve here, in the main thread, and have the pool interrupted by a signal as soon as a task was reported."""
    main = _runs_in_main(pool)
    me = threading.get_ident()
    previous = signal.signal(signal.SIGUSR1, lambda *_: main.interrupt())

    def interrupt() -> None:
        pool.wait_reported(pool.submitted)
        signal.pthread_kill(me, signal.SIGUSR1)

    sender = threading.Thread(target=interrupt)
    try:
        pool.pool.start()
        pool.submit(pool.request())
        sender.start()
        main.serve()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, previous)
