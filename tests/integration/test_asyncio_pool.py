"""Workers whose pool is the event loop: thousands at once, limits, ends, stops."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import pytest
from running import eventually, running

from celeriac.errors import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

MANY = 1000


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def waits(app, gate):
    """A coroutine that ends when the gate is opened."""

    @app.task(name="waits")
    async def waits(number=0):
        while not gate.is_set():
            await asyncio.sleep(0.01)
        return number

    return waits


def depth(app):
    return app.connections.transport().depths(["celery"], timeout=5)[0]


def test_many_coroutines_wait_side_by_side(app):
    at_once = {"now": 0, "most": 0}
    everybody_came = threading.Event()

    @app.task(ignore_result=True)
    async def meets():
        at_once["now"] += 1
        at_once["most"] = max(at_once["most"], at_once["now"])
        if at_once["now"] == MANY:
            everybody_came.set()
        while not everybody_came.is_set():
            await asyncio.sleep(0.05)
        at_once["now"] -= 1

    app.publisher.send([app.publisher.build(meets.name, (), task=meets) for _ in range(MANY)])
    with running(app, pool="asyncio", concurrency=MANY):
        eventually(lambda: everybody_came.is_set() and at_once["now"] == 0, "all have met", 25)
        eventually(lambda: depth(app).held == 0, "all are settled")

    assert at_once["most"] == MANY


def test_a_coroutine_knows_its_own_request_across_await(app):
    @app.task(bind=True)
    async def tells(self):
        before = self.request.id
        await asyncio.sleep(0.01)
        return before == self.request.id

    with running(app, pool="asyncio", concurrency=20):
        results = [tells.delay() for _ in range(20)]

        assert [result.get(timeout=10) for result in results] == [True] * 20


def test_plain_functions_run_beside_the_loop(app, gate):
    @app.task
    def blocks():
        assert gate.wait(20)
        return threading.current_thread().name

    @app.task
    async def quick():
        return threading.current_thread().name

    with running(app, pool="asyncio"):
        blocking = [blocks.delay() for _ in range(3)]

        assert quick.delay().get(timeout=10) == "celeriac-asyncio"
        gate.set()
        assert {result.get(timeout=10).rpartition("-")[0] for result in blocking} == {"celeriac-asyncio-plain"}


def test_a_soft_limit_is_caught_or_recorded(app):
    @app.task(soft_time_limit=0.2)
    async def limited(catch):
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded as error:
            if catch:
                return list(error.args)
            raise

    with running(app, pool="asyncio"):
        caught, failed = limited.delay(True), limited.delay(False)

        assert caught.get(timeout=10) == [0.2]
        with pytest.raises(SoftTimeLimitExceeded):
            failed.get(timeout=10)
    assert failed.state == "FAILURE"


def test_a_hard_limit_of_a_call_ends_what_swallows_everything(app, gate):
    @app.task
    async def stubborn():
        while not gate.is_set():
            with suppress(SoftTimeLimitExceeded, asyncio.CancelledError):
                await asyncio.sleep(0.01)

    @app.task
    async def quick():
        return "next"

    with running(app, pool="asyncio", concurrency=1):
        with pytest.raises(TimeLimitExceeded):
            stubborn.apply_async(time_limit=0.2).get(timeout=10)

        assert quick.delay().get(timeout=10) == "next"
        gate.set()


def test_a_coroutine_is_terminated_by_cancellation(app, waits):
    with running(app, pool="asyncio") as worker:
        result = waits.delay()
        eventually(lambda: worker.terminate(result.id), "it runs and is terminated")

        with pytest.raises(TaskRevokedError):
            result.get(timeout=10)


def test_a_warm_stop_waits_for_coroutines_and_takes_no_more(app, waits, gate):
    with running(app, pool="asyncio", concurrency=2) as worker:
        results = [waits.delay(number) for number in range(2)]
        eventually(lambda: len(worker.pool_state()) == 2, "both run")
        worker.stop()
        eventually(lambda: worker.stopping, "it stops")
        later = waits.delay(3)
        gate.set()

        assert [result.get(timeout=10) for result in results] == [0, 1]
    assert later.state == "PENDING"
    assert depth(app).waiting == 1


def test_a_cold_stop_cancels_coroutines_and_hands_them_back(app):
    tidied = []

    @app.task
    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            tidied.append(True)

    with running(app, pool="asyncio", concurrency=2) as worker:
        for _ in range(2):
            waits.delay()
        eventually(lambda: len(worker.pool_state()) == 2, "both run")

        worker.stop("cold")

        assert worker.wait_until_stopped(10)
    assert tidied == [True, True]
    assert depth(app).waiting == 2


def test_options_of_the_pool_come_from_a_setting(app):
    app.conf.worker_pool_options = {"plain_threads": 1}
    at_once = []
    running_now = []

    @app.task
    def plain():
        running_now.append(True)
        at_once.append(len(running_now))
        time.sleep(0.02)
        running_now.pop()

    with running(app, pool="asyncio"):
        for result in [plain.delay() for _ in range(5)]:
            result.get(timeout=10)

    assert at_once == [1] * 5
