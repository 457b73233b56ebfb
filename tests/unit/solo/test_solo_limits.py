"""Soft limits of the solo pool: by an alarm in the main thread, by an exception in any other."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pool_bench import PATIENCE, PoolBench, thread_names

from celeriac.errors import SoftTimeLimitExceeded
from celeriac.model.outcome import Outcome
from celeriac.model.record import SUCCESS
from celeriac_solo.pool import SoloPool

SOFT = 0.3

in_main_thread = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm clock on this system")


def serve_here(*tasks: tuple[Callable[[], Any], dict[str, float]]) -> list[Outcome]:
    """Run tasks in the calling thread and return their outcomes."""
    bench = PoolBench(SoloPool)
    bench.pool.start()
    bench.pool.submit([bench.request(task, **limits) for task, limits in tasks])
    bench.submit(bench.pool.interrupt)
    bench.pool.serve()
    bench.pool.stop(PATIENCE)
    return [bench.next() for _ in tasks]


def serve_elsewhere(*tasks: tuple[Callable[[], Any], dict[str, float]]) -> list[Outcome]:
    """Run tasks in another thread than the main one and return their outcomes."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(serve_here(*tasks)))
    thread.start()
    thread.join(PATIENCE)
    return outcomes


both = pytest.mark.parametrize("serve", [pytest.param(serve_here, marks=in_main_thread), serve_elsewhere])


def spin(seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@both
def test_a_task_gets_its_soft_limit_once_and_may_go_on(serve) -> None:
    def catches() -> str:
        caught = []
        for seconds in (PATIENCE, 0.5):
            try:
                spin(seconds)
            except SoftTimeLimitExceeded as error:
                caught.append(error.args)
        return str(caught)

    (outcome,) = serve((catches, {"soft": SOFT}))

    assert outcome.reason == f"[({SOFT},)]"


@both
def test_the_limit_of_one_task_does_not_reach_the_next(serve) -> None:
    limited, other, short = serve((spin, {"soft": SOFT}), (lambda: spin(0.2), {}), (lambda: None, {"soft": 5.0}))

    assert limited.error == f"SoftTimeLimitExceeded({SOFT})"
    assert [other.state, short.state] == [SUCCESS, SUCCESS]


@both
def test_limits_that_are_reached_as_runs_end_harm_nobody(serve) -> None:
    outcomes = serve(*((lambda: spin(0.001), {"soft": 0.0005 + n * 0.00001}) for n in range(100)))

    assert {outcome.error for outcome in outcomes if not outcome.error.startswith("SoftTimeLimitExceeded")} <= {""}
    assert len(outcomes) == 100


@both
def test_a_coroutine_gets_its_soft_limit_where_it_waits(serve) -> None:
    async def waits() -> None:
        await asyncio.sleep(60)

    async def loop() -> int:
        return id(asyncio.get_running_loop())

    limited, one, other = serve((waits, {"soft": SOFT}), (loop, {}), (loop, {"soft": 60.0}))

    assert limited.error == f"SoftTimeLimitExceeded({SOFT})"
    assert one.reason == other.reason


@in_main_thread
def test_in_the_main_thread_the_limit_ends_a_call_of_c_that_waits() -> None:
    began = time.monotonic()

    (outcome,) = serve_here((lambda: time.sleep(60), {"soft": SOFT}))

    assert outcome.error == f"SoftTimeLimitExceeded({SOFT})"
    assert time.monotonic() - began < PATIENCE


@in_main_thread
def test_the_alarm_is_the_programs_own_again_after_each_run() -> None:
    def handler(*_: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        serve_here((lambda: None, {"soft": SOFT}), (spin, {"soft": SOFT}))
        after = signal.getsignal(signal.SIGALRM)
        timer = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert after is handler
    assert timer == (0.0, 0.0)


def test_the_thread_that_watches_ends_with_the_pool() -> None:
    serve_elsewhere((spin, {"soft": SOFT}))

    assert thread_names("celeriac-solo") == []
