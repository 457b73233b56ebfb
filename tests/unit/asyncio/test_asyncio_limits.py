"""Limits, termination and abuse on the loop."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pool_bench import PATIENCE, PoolBench, wait_for

from celeriac import events
from celeriac.errors import SoftTimeLimitExceeded
from celeriac.model.record import FAILURE, SUCCESS
from celeriac_asyncio import lag
from celeriac_asyncio.pool import AsyncioPool

SOFT = 0.2


@pytest.fixture
def bench() -> Iterator[PoolBench]:
    bench = PoolBench(AsyncioPool, 2, blocked_seconds=0.2)
    bench.pool.start()
    yield bench
    bench.pool.stop(PATIENCE)


def event_names(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__.get("event", "") for record in caplog.records]


async def quick() -> str:
    return "quick"


# -- soft limits -----------------------------------------------------------------------------------


def test_a_coroutine_gets_its_soft_limit_where_it_waits(bench: PoolBench) -> None:
    async def waits() -> None:
        await asyncio.sleep(60)

    outcome = bench.run(waits, soft=SOFT)

    assert (outcome.state, outcome.error) == (FAILURE, f"SoftTimeLimitExceeded({SOFT})")


def test_a_coroutine_may_catch_its_soft_limit_and_go_on(bench: PoolBench) -> None:
    async def catches() -> str:
        caught = []
        for seconds in (60, 0.4):
            try:
                await asyncio.sleep(seconds)
            except SoftTimeLimitExceeded as error:
                caught.append(error.args)
        task = asyncio.current_task()
        assert task is not None
        return f"{caught} {task.cancelling()}"

    outcome = bench.run(catches, soft=SOFT)

    assert (outcome.state, outcome.reason) == (SUCCESS, f"[({SOFT},)] 0")


def test_the_soft_limit_ends_a_task_group_as_a_cancellation_does(bench: PoolBench) -> None:
    ended = []

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("child")

    async def groups() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(child())
        except SoftTimeLimitExceeded:
            return f"caught, {len(ended)} ended"
        return "not caught"

    assert bench.run(groups, soft=SOFT).reason == "caught, 2 ended"


def test_the_soft_limit_passes_through_timeouts_and_ends_what_they_wait_for(bench: PoolBench) -> None:
    ended = []

    async def inner() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("inner")

    async def waits() -> str:
        try:
            async with asyncio.timeout(30):
                await asyncio.wait_for(inner(), 30)
        except SoftTimeLimitExceeded:
            return f"caught, {ended}"
        return "not caught"

    assert bench.run(waits, soft=SOFT).reason == "caught, ['inner']"


def test_the_soft_limit_comes_although_what_is_waited_for_swallows_the_cancellation(bench: PoolBench) -> None:
    async def swallows() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    async def waits() -> None:
        await asyncio.create_task(swallows())
        await asyncio.sleep(60)

    assert bench.run(waits, soft=SOFT).error == f"SoftTimeLimitExceeded({SOFT})"


def test_outside_the_task_the_soft_limit_is_the_plain_error(bench: PoolBench) -> None:
    errors: list[SoftTimeLimitExceeded] = []

    async def keeps() -> None:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded as error:
            errors.append(error)

    bench.run(keeps, soft=SOFT)

    copied = pickle.loads(pickle.dumps(errors[0]))
    assert type(copied) is SoftTimeLimitExceeded
    assert copied.args == (SOFT,)


def test_a_coroutine_that_ends_in_time_is_not_told(bench: PoolBench) -> None:
    async def ends() -> None:
        await asyncio.sleep(0)

    for _ in range(20):
        assert bench.run(ends, soft=5.0, hard=5.0).state == SUCCESS


# -- hard limits and termination -------------------------------------------------------------------


def test_a_coroutine_past_its_hard_limit_is_cancelled(bench: PoolBench) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    outcome = bench.run(waits, hard=0.05)

    assert outcome.error == "TimeLimitExceeded(0.05)"
    assert ended.wait(PATIENCE)


def test_one_that_swallows_every_cancellation_is_left_to_itself_and_its_outcome_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = PoolBench(AsyncioPool, 1)
    bench.pool.start()
    gate = threading.Event()

    async def swallows() -> str:
        while not gate.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        return "too late"

    with caplog.at_level(logging.INFO, "celeriac_asyncio"):
        request = bench.submit(swallows, soft=0.02, hard=0.05)
        assert bench.next().error == "TimeLimitExceeded(0.05)"
        assert bench.run(quick).reason == "quick"  # on the only slot
        gate.set()
        wait_for(lambda: "outcome_dropped" in event_names(caplog), "the late outcome is dropped")
    bench.pool.stop(PATIENCE)

    assert "cancellation_swallowed" in event_names(caplog)
    assert bench.outcomes.empty()
    assert bench.started.count(request.key) == 1


def test_terminate_cancels_the_run_under_a_key_and_no_other(bench: PoolBench) -> None:
    gate = threading.Event()

    async def waits() -> str:
        while not gate.is_set():
            await asyncio.sleep(0.002)
        return "to its end"

    one, other = bench.submit(waits), bench.submit(waits)
    waiting = bench.submit(waits)
    wait_for(lambda: len(bench.started) == 2, "both run")

    answers = [bench.pool.terminate(key) for key in (waiting.key, one.key, one.key, 999)]

    ended = bench.next()
    gate.set()
    rest = [bench.next(), bench.next()]
    assert answers == [False, True, False, False]
    assert (ended.key, ended.error) == (one.key, "TaskRevokedError('terminated')")
    assert {outcome.key for outcome in rest} == {other.key, waiting.key}
    assert {outcome.reason for outcome in rest} == {"to its end"}


def test_plain_functions_have_limits_too(bench: PoolBench) -> None:
    def spin() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            pass

    def spins() -> str:
        try:
            spin()
        except SoftTimeLimitExceeded as error:
            return f"caught {error.args}"
        return "not caught"

    assert bench.run(spins, soft=SOFT).reason == f"caught ({SOFT},)"


# -- what blocks the loop --------------------------------------------------------------------------


def test_what_blocks_the_loop_is_named_with_the_place(bench: PoolBench, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[dict[str, object]] = []
    gate = threading.Event()

    async def blocks_the_loop() -> None:
        gate.wait(PATIENCE)

    def on_blocked(**fields: object) -> None:
        sent.append(fields)
        gate.set()

    events.loop_blocked.connect(on_blocked)
    try:
        with caplog.at_level(logging.WARNING, "celeriac_asyncio"):
            request = bench.submit(blocks_the_loop)
            assert bench.next().state == SUCCESS
            wait_for(lambda: "loop_unblocked" in event_names(caplog), "the loop goes on")
    finally:
        events.loop_blocked.disconnect(on_blocked)

    assert event_names(caplog) == ["loop_blocked", "loop_unblocked"]
    assert f"task-{request.key}[{request.id}]" in caplog.messages[0]
    assert "in blocks_the_loop" in caplog.messages[0]
    assert sent[0]["request"] is request


def test_what_blocks_the_loop_past_its_hard_limit_is_reported_and_retires_the_worker(
    bench: PoolBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "RETIRE_SECONDS", 0.1)
    gate = threading.Event()

    async def blocks_the_loop() -> str:
        gate.wait(PATIENCE)
        return "too late"

    try:
        outcome = bench.run(blocks_the_loop, hard=0.1)
        reason = bench.retired.get(timeout=PATIENCE)
    finally:
        gate.set()

    assert outcome.error == "TimeLimitExceeded(0.1)"
    assert "in blocks_the_loop" in reason
    assert bench.run(quick).reason == "quick"
    assert bench.outcomes.empty()


def test_a_stop_does_not_wait_for_a_blocked_loop_whose_task_is_reported(bench: PoolBench) -> None:
    gate = threading.Event()
    ended = []

    async def blocks_the_loop() -> None:
        gate.wait(PATIENCE)
        ended.append(True)

    bench.run(blocks_the_loop, hard=0.1)

    returned = bench.pool.stop(None)

    ended_before = list(ended)
    gate.set()
    assert (returned, ended_before) == ([], [])
