"""What users rely on, from `delay` to the stored result, on each embedded broker."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from running import eventually, running

from celeriac.errors import RemoteError, TaskRevokedError
from celeriac.errors import TimeoutError as ResultTimeout


@pytest.fixture(params=["solo", "threads"])
def pool(request):
    return request.param


def letters(transport, kind=None):
    return transport.letters(kind, limit=100, timeout=5)


def left(transport):
    return sum(depth.waiting + depth.delayed + depth.held for depth in transport.depths(timeout=5))


def test_a_task_runs_and_its_result_is_read(app, pool):
    @app.task
    def add(x, y):
        return x + y

    with running(app, pool=pool):
        result = add.delay(2, 3)

        assert result.get(timeout=10) == 5
    assert result.successful()
    assert result.state == "SUCCESS"


def test_an_async_task_runs_on_every_pool(app, pool):
    @app.task
    async def add(x, y):
        await asyncio.sleep(0)
        return x + y

    async def call():
        result = await add.adelay(2, 3)
        return await result

    with running(app, pool=pool):
        assert asyncio.run(call()) == 5


def test_many_calls_are_published_at_once_and_answered_in_order(app, pool):
    @app.task
    def double(x):
        return x * 2

    with running(app, pool=pool):
        results = app.publish_many([double.s(n) for n in range(500)])

        assert [result.get(timeout=20) for result in results] == [n * 2 for n in range(500)]


def test_what_a_task_raises_is_raised_at_the_caller(app, pool):
    @app.task
    def fail():
        raise KeyError("missing")

    with running(app, pool=pool):
        result = fail.delay()

        with pytest.raises(KeyError, match="missing"):
            result.get(timeout=10)
    assert result.failed()
    assert "fail()" in result.traceback or "in fail" in result.traceback


def test_an_exception_of_an_unknown_type_is_told_all_the_same(app):
    hidden = type("Hidden", (Exception,), {"__module__": "not.imported"})

    @app.task
    def fail():
        raise hidden("why", 7)

    with running(app), pytest.raises(RemoteError, match=r"not.imported.Hidden: why, 7"):
        fail.delay().get(timeout=10)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_task_that_tries_to_leave_fails_and_the_worker_lives(app, pool, error):
    @app.task
    def leave():
        raise error

    @app.task
    def stay():
        return "here"

    with running(app, pool=pool):
        result = leave.delay()

        with pytest.raises(RemoteError, match=type(error).__name__):
            result.get(timeout=10)
        assert stay.delay().get(timeout=10) == "here"


def test_a_task_waits_for_its_countdown(app):
    ran = []

    @app.task
    def note():
        ran.append(datetime.now(UTC))

    with running(app):
        due = datetime.now(UTC) + timedelta(seconds=0.5)
        note.apply_async(eta=due).get(timeout=10)

    assert ran[0] >= due


def test_an_expired_task_does_not_run(app, transport):
    @app.task
    def never():
        raise AssertionError

    result = never.apply_async(expires=datetime.now(UTC) - timedelta(seconds=1))

    with running(app), pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=10)
    assert left(transport) == 0


def test_a_revoked_task_does_not_run_though_no_worker_was_up(app):
    @app.task
    def never():
        raise AssertionError

    result = never.delay()
    result.revoke()

    with running(app), pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=10)
    assert result.state == "REVOKED"


def test_a_higher_priority_goes_first(app):
    order = []

    @app.task
    def note(label):
        order.append(label)

    for priority in (0, 5, 9):
        note.apply_async((priority,), priority=priority)

    with running(app):
        eventually(lambda: len(order) == 3, "all ran")
    assert order == [9, 5, 0]


def test_a_tracked_task_is_seen_to_have_started(app):
    go_on = threading.Event()

    @app.task(track_started=True)
    def slow():
        assert go_on.wait(10)

    with running(app, pool="threads", concurrency=1):
        result = slow.delay()
        eventually(lambda: result.state == "STARTED", "STARTED")
        go_on.set()
        result.get(timeout=10)

    assert result.state == "SUCCESS"


def test_an_at_most_once_task_is_acknowledged_before_it_runs(app, transport):
    held = []

    @app.task(acks_late=False)
    def look():
        held.append(left(transport))
        return "ran"

    with running(app):
        assert look.delay().get(timeout=10) == "ran"

    assert held == [0]


def test_a_rate_limited_task_keeps_its_rate_and_blocks_no_other(app):
    @app.task(rate_limit="20/s")
    def limited(n):
        return n

    @app.task
    def free():
        return "free"

    with running(app):
        began = datetime.now(UTC)
        results = [limited.delay(n) for n in range(10)]
        assert free.delay().get(timeout=10) == "free"
        freed = datetime.now(UTC) - began
        assert [result.get(timeout=20) for result in results] == list(range(10))
        took = datetime.now(UTC) - began

    assert took >= timedelta(seconds=0.4)
    assert freed < took


def test_extended_results_say_where_and_what(app):
    app.conf.result_extended = True

    @app.task
    def add(x, y):
        return x + y

    with running(app, hostname="here@box"):
        result = add.delay(2, y=3)
        result.get(timeout=10)

    assert (result.name, result.args, result.kwargs, result.worker, result.queue) == (
        add.name, [2], {"y": 3}, "here@box", "celery",
    )  # fmt: skip


def test_results_that_are_not_wanted_are_not_stored(app, transport):
    @app.task(ignore_result=True)
    def quiet():
        return "unheard"

    with running(app):
        result = quiet.delay()
        eventually(lambda: left(transport) == 0, "it ran")

    assert result.get(timeout=1) is None
    assert app.AsyncResult(result.id).state == "PENDING"


def test_a_result_that_does_not_come_is_a_timeout(app):
    @app.task
    def never():
        raise AssertionError

    with pytest.raises(ResultTimeout):
        never.delay().get(timeout=0.1)
