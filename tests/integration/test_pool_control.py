"""A worker that runs is told to end a task, to have more or fewer slots, and to say what it runs."""

from __future__ import annotations

import threading

import pytest
from running import eventually, running

from celeriac import events
from celeriac.errors import ConfigurationError, TaskRevokedError, Unsupported
from celeriac.runtime.worker import Worker


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def waits(app, gate):
    """A task that ends when the gate is opened; it can be interrupted meanwhile."""

    @app.task(name="waits")
    def waits(number=0):
        while not gate.wait(0.01):
            pass
        return number

    return waits


def at_work(worker, count):
    return eventually(lambda: len(worker.pool_state()) == count and worker.pool_state(), f"{count} tasks run")


def test_a_task_that_is_terminated_is_revoked_and_its_slot_free(app, waits):
    told = []
    receiver = events.task_revoked.connect(lambda request, terminated, **_: told.append((request.id, terminated)))
    try:
        with running(app, pool="threads", concurrency=1) as worker:
            long, short = waits.delay(), waits.s(2)
            at_work(worker, 1)

            assert worker.terminate(long.id)

            with pytest.raises(TaskRevokedError):
                long.get(timeout=10)
            following = short.delay()
            at_work(worker, 1)
            assert worker.pool_state()[0].id == following.id
            assert not worker.terminate(long.id)
            assert worker.terminate(following.id, signal="SIGKILL")
    finally:
        events.task_revoked.disconnect(receiver)
    assert told[0] == (long.id, True)


def test_a_worker_tells_what_runs_for_how_long(app, waits):
    with running(app, pool="threads", concurrency=2) as worker:
        results = [waits.delay(number) for number in range(2)]

        states = at_work(worker, 2)

        assert {state.id for state in states} == {result.id for result in results}
        assert {(state.task, state.queue) for state in states} == {("waits", "celery")}
        assert all(0 <= state.seconds < 60 for state in states)
        for state in states:
            worker.terminate(state.id)


def test_a_worker_that_grows_takes_and_runs_more(app, waits, gate):
    with running(app, pool="threads", concurrency=1) as worker:
        results = [waits.delay(number) for number in range(4)]
        at_work(worker, 1)

        worker.resize(3)

        at_work(worker, 3)
        gate.set()
        assert [result.get(timeout=10) for result in results] == [0, 1, 2, 3]


def test_a_worker_that_shrinks_takes_no_more_than_it_runs(app, waits, gate):
    with running(app, pool="threads", concurrency=4) as worker:
        worker.resize(1)
        worker.resize(1)

        results = [waits.delay(number) for number in range(3)]
        at_work(worker, 1)
        gate.set()
        assert [result.get(timeout=10) for result in results] == [0, 1, 2]


def test_what_a_pool_cannot_do_is_refused_with_the_pools_that_can(app):
    with running(app, pool="solo") as worker:
        with pytest.raises(Unsupported, match=r"'solo' does not support terminating a task.*threads"):
            worker.terminate("id")
        with pytest.raises(Unsupported, match=r"'solo' does not support resizing.*threads"):
            worker.resize(3)
    app.conf.worker_max_tasks_per_child = 10
    with pytest.raises(Unsupported, match=r"worker_max_tasks_per_child` \(10\)"):
        Worker(app, pool="solo")


def test_a_size_or_a_signal_that_there_is_not_is_refused(app):
    with running(app, pool="threads", concurrency=2) as worker:
        with pytest.raises(ConfigurationError, match="at least one slot"):
            worker.resize(0)
        with pytest.raises(ConfigurationError, match="'TERM'"):
            worker.terminate("id", "TURM")


def test_a_worker_that_does_not_run_has_no_pool(app):
    with pytest.raises(RuntimeError, match="does not run"):
        Worker(app, pool="threads").resize(2)


def test_a_pool_that_cannot_go_on_retires_the_worker_with_a_code_of_its_own(app):
    codes = []

    with running(app, pool="threads") as worker:
        receiver = events.worker_shutdown.connect(lambda exitcode, **_: codes.append(exitcode))
        worker.retire("too many threads are stuck")
        worker.retire("again: this must not make it a cold stop")
        assert worker.wait_until_stopped(20)
        eventually(lambda: codes, "the worker has shut down")
        events.worker_shutdown.disconnect(receiver)
    assert codes == [75]


def test_an_autoscaler_gives_what_waits_the_slots_it_may_have(app, waits, gate):
    app.conf.update(plugins=["autoscale"], worker_autoscale="3,1")
    with running(app, pool="threads", concurrency=1) as worker:
        results = [waits.delay(number) for number in range(5)]

        at_work(worker, 3)

        gate.set()
        assert [result.get(timeout=10) for result in results] == [0, 1, 2, 3, 4]
