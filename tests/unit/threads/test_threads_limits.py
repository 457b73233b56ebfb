"""Limits, termination and abuse of tasks in threads."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pool_bench import PATIENCE, PoolBench, thread_names, wait_for

from celeriac.errors import SoftTimeLimitExceeded
from celeriac.model.record import FAILURE, SUCCESS
from celeriac_threads.pool import ThreadsPool

SOFT = 0.3


@pytest.fixture
def bench() -> Iterator[PoolBench]:
    bench = PoolBench(ThreadsPool)
    bench.pool.start()
    yield bench
    bench.pool.stop(PATIENCE)


def event_names(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__.get("event", "") for record in caplog.records]


def spin(gate: threading.Event | None = None, seconds: float = PATIENCE) -> None:
    """Keep the processor busy, in byte code, until the gate opens."""
    end = time.monotonic() + seconds
    while not (gate is not None and gate.is_set()):
        assert time.monotonic() < end, "nothing ended this"


# -- soft limits -----------------------------------------------------------------------------------


def test_a_pool_without_limits_has_no_thread_but_its_slots(bench: PoolBench) -> None:
    bench.run(lambda: None)

    assert thread_names("celeriac-threads") == ["celeriac-threads-1"]


def test_a_task_gets_its_soft_limit_and_may_catch_it(bench: PoolBench) -> None:
    def catches() -> str:
        caught = []
        for seconds in (PATIENCE, 0.5):
            try:
                spin(seconds=seconds)
            except SoftTimeLimitExceeded as error:
                caught.append(error.args)
            except AssertionError:
                pass
        return str(caught)

    assert bench.run(catches, soft=SOFT).reason == f"[({SOFT},)]"


def test_the_soft_limit_comes_after_a_call_of_c_that_waits(bench: PoolBench) -> None:
    returned = []

    def sleeps() -> None:
        time.sleep(0.6)
        returned.append("from sleep")
        spin()

    outcome = bench.run(sleeps, soft=SOFT)

    assert outcome.error == f"SoftTimeLimitExceeded({SOFT})"
    assert len(returned) <= 1


def test_a_coroutine_gets_its_soft_limit_where_it_waits(bench: PoolBench) -> None:
    async def catches() -> str:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded as error:
            return f"caught {error.args}"
        return "not caught"

    assert bench.run(catches, soft=SOFT).reason == f"caught ({SOFT},)"


def test_coroutines_of_one_slot_share_a_loop(bench: PoolBench) -> None:
    async def tells() -> int:
        return id(asyncio.get_running_loop())

    assert bench.run(tells).reason == bench.run(tells, soft=60.0, hard=90.0).reason


def test_soft_limits_leave_no_lock_locked() -> None:
    """All tasks take and give back the same locks, over and over; the soft limit comes at some moment of that."""
    bench = PoolBench(ThreadsPool, 3)
    bench.pool.start()
    condition = threading.Condition()
    logger = logging.Logger("quiet")
    logger.addHandler(logging.NullHandler())
    handler = Counting()
    logger.addHandler(handler)
    chance = random.Random(3)

    def takes_locks() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with condition:
                condition.notify_all()
            logger.info("once more")
            for _ in range(100):  # a thread that only takes locks is never seen in code of its own
                sum(range(2000))

    bench.pool.submit([bench.request(takes_locks, soft=chance.uniform(0.001, 0.02)) for _ in range(20)])
    errors = {bench.next().error.partition("(")[0] for _ in range(20)}
    bench.pool.stop(PATIENCE)

    assert errors == {"SoftTimeLimitExceeded"}
    assert condition.acquire(timeout=PATIENCE)
    assert handler.lock is not None
    assert handler.lock.acquire(timeout=PATIENCE)  # type: ignore[call-arg]
    assert handler.count > 0


class Counting(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def test_a_soft_limit_that_is_reached_as_runs_end_hits_that_run_or_nobody() -> None:
    """What a task left behind would hit the pool's own code, or a task without a limit."""
    bench = PoolBench(ThreadsPool, 2)
    bench.pool.start()
    chance = random.Random(7)

    def brief() -> None:
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass

    requests = []
    for _ in range(400):
        requests.append(bench.request(brief, soft=chance.uniform(0.0005, 0.004)))
        requests.append(bench.request(brief))
    bench.pool.submit(requests)
    outcomes = {outcome.key: outcome for outcome in (bench.next() for _ in requests)}
    threads = thread_names("celeriac-threads")
    bench.pool.stop(PATIENCE)

    assert {outcomes[request.key].state for request in requests if request.soft_time_limit is None} == {SUCCESS}
    errors = [outcome.error.partition("(")[0] for outcome in outcomes.values() if outcome.state == FAILURE]
    assert set(errors) == {"SoftTimeLimitExceeded"}
    assert threads == ["celeriac-threads-1", "celeriac-threads-2", "celeriac-threads-watch"]


# -- hard limits and termination -------------------------------------------------------------------


def test_a_thread_past_its_hard_limit_is_replaced_and_its_outcome_dropped(
    bench: PoolBench, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def hangs() -> str:
        gate.wait(PATIENCE)
        try:
            spin(seconds=0.3)
        except BaseException:  # noqa: BLE001  a task that swallows everything
            return "swallowed"
        return "too late"

    with caplog.at_level(logging.INFO, "celeriac.runtime"):
        outcome = bench.run(hangs, hard=0.1)
        quick = bench.run(lambda: threading.current_thread().name)
        gate.set()
        wait_for(lambda: thread_names("celeriac-threads-1") == [], "the thread ends")

    assert (outcome.state, outcome.error) == (FAILURE, "TimeLimitExceeded(0.1)")
    assert quick.reason == "celeriac-threads-2"
    assert bench.outcomes.empty()
    assert event_names(caplog)[0] == "task_ended_by_force"
    assert "in hangs" in caplog.messages[0]


def test_a_thread_that_was_given_up_is_told_to_end(bench: PoolBench) -> None:
    told: list[BaseException] = []

    def spins() -> None:
        try:
            spin()
        except BaseException as error:
            told.append(error)
            raise

    bench.run(spins, hard=SOFT)

    wait_for(lambda: thread_names("celeriac-threads-1") == [], "the thread ends")
    assert [type(error) for error in told] == [SystemExit]


def test_a_coroutine_past_its_hard_limit_is_cancelled(bench: PoolBench) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    assert bench.run(waits, hard=SOFT).error == f"TimeLimitExceeded({SOFT})"
    assert ended.wait(PATIENCE)


def test_too_many_stuck_threads_retire_the_worker_once_and_say_where_they_hang() -> None:
    bench = PoolBench(ThreadsPool, 1, stuck_limit=2)
    bench.pool.start()
    gate = threading.Event()

    def hangs() -> None:
        gate.wait(PATIENCE)

    try:
        for _ in range(3):
            bench.run(hangs, hard=SOFT)
        reason = bench.retired.get(timeout=PATIENCE)
    finally:
        gate.set()
    bench.pool.stop(PATIENCE)

    assert reason.startswith("2 threads hang")
    assert "task-1[1] in " in reason
    assert "task-2[2] in " in reason
    assert bench.retired.empty()


def test_terminate_frees_the_slot_of_the_run_under_a_key(bench: PoolBench) -> None:
    gate = threading.Event()
    request = bench.submit(lambda: spin(gate))
    waiting = bench.submit(lambda: "ran")
    wait_for(lambda: bench.started, "it runs")

    answers = [bench.pool.terminate(key) for key in (waiting.key, request.key, request.key, 999)]

    outcomes = [bench.next(), bench.next()]
    gate.set()
    assert answers == [False, True, False, False]
    assert [outcome.key for outcome in outcomes] == [request.key, waiting.key]
    assert outcomes[0].error == "TaskRevokedError('terminated')"
    assert outcomes[1].reason == "ran"


def test_a_stop_does_not_wait_for_threads_that_were_given_up(bench: PoolBench) -> None:
    gate = threading.Event()
    bench.run(lambda: gate.wait(PATIENCE), hard=SOFT)

    assert bench.pool.stop(None) == []

    gate.set()


def test_limits_are_kept_during_a_warm_stop(bench: PoolBench) -> None:
    gate = threading.Event()
    bench.submit(lambda: gate.wait(PATIENCE), hard=0.2)
    wait_for(lambda: bench.started, "it runs")

    returned = bench.pool.stop(None)

    gate.set()
    assert returned == []
    assert bench.next().error == "TimeLimitExceeded(0.2)"


def test_a_failed_replacement_is_logged_and_loses_only_that_slot(
    bench: PoolBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def no_room(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    bench.run(lambda: None, hard=60.0)  # the watch has its thread
    with caplog.at_level(logging.ERROR, "celeriac.runtime"):
        monkeypatch.setattr(bench.pool, "_add_slot", no_room)
        outcome = bench.run(lambda: gate.wait(PATIENCE), hard=SOFT)
        wait_for(lambda: "task_ended_by_force" in event_names(caplog), "it is told")
    gate.set()

    assert outcome.error == f"TimeLimitExceeded({SOFT})"
    assert event_names(caplog)[0] == "slot_lost"


def test_the_pool_tells_in_which_thread_a_task_runs(bench: PoolBench) -> None:
    gate = threading.Event()
    running, waiting = bench.submit(lambda: gate.wait(PATIENCE)), bench.submit(lambda: None)
    wait_for(lambda: bench.started, "it runs")

    places = [bench.pool.place(request.key) for request in (running, waiting)]

    gate.set()
    assert places == ["celeriac-threads-1", None]
