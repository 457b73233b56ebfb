"""Time limits in workers whose tasks run in threads, and leases while such a task runs."""

from __future__ import annotations

import threading
import time

import pytest
from running import eventually, running

from celeriac.errors import SoftTimeLimitExceeded, TimeLimitExceeded

PATIENCE = 10.0


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


def spin(seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.fixture
def busy(app):
    """A task that computes in byte code until somebody ends it."""

    @app.task(name="busy", max_retries=3)
    def busy(catch=False):
        try:
            spin()
        except SoftTimeLimitExceeded as error:
            if catch:
                return list(error.args)
            raise
        return "nobody ended it"

    return busy


@pytest.mark.parametrize("pool", ["threads", "solo", "asyncio"])
def test_a_soft_limit_is_caught_or_recorded(app, busy, pool):
    with running(app, pool=pool):
        caught = busy.apply_async((True,), soft_time_limit=0.3)
        failed = busy.apply_async((False,), soft_time_limit=0.3)

        assert caught.get(timeout=20) == [0.3]
        with pytest.raises(SoftTimeLimitExceeded):
            failed.get(timeout=20)


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_a_hard_limit_frees_the_slot_of_a_task_that_hangs(app, gate, pool):
    @app.task(time_limit=0.3)
    def hangs():
        gate.wait(20)

    @app.task
    def quick():
        return "next"

    with running(app, pool=pool, concurrency=1):
        hanging = hangs.delay()
        with pytest.raises(TimeLimitExceeded):
            hanging.get(timeout=10)

        assert quick.delay().get(timeout=10) == "next"
        gate.set()
    assert hanging.state == "FAILURE"


def test_a_worker_with_too_many_stuck_threads_retires(app, gate):
    app.conf.worker_pool_options = {"stuck_limit": 2}

    @app.task(time_limit=0.2)
    def hangs():
        gate.wait(20)

    with running(app, pool="threads", concurrency=1) as worker:
        for _ in range(2):
            hangs.delay()

        assert worker.wait_until_stopped(20)


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_the_lease_is_renewed_while_a_task_keeps_the_interpreter_busy(app, pool):
    app.conf.broker_transport_options = {"lease_seconds": 1.0}
    runs = []

    @app.task
    def long():
        runs.append(True)
        spin(4.0)  # four leases
        return len(runs)

    with running(app, pool=pool, concurrency=1), running(app, pool="threads", concurrency=1):
        result = long.delay()

        assert result.get(timeout=20) == 1
        eventually(lambda: app.connections.transport().depths(["celery"], timeout=5)[0].held == 0, "it is settled")
    assert runs == [True]
