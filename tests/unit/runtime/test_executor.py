"""The executor: one run from a request to its outcome, called or awaited."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from celeriac import Celeriac
from celeriac.client.context import _current, current_context
from celeriac.errors import Ignore, Reject
from celeriac.model.outcome import Action
from celeriac.model.record import FAILURE, IGNORED, REJECTED, RETRY, SUCCESS
from celeriac.model.request import Request
from celeriac.runtime.executor import Executor, rebuilt
from celeriac.spi.pool import Rebuild


@pytest.fixture
def app():
    with Celeriac("unit-executor", broker="memory://unit-executor") as app:
        yield app


@pytest.fixture
def executor(app):
    """Make the executor when it is first used, so that it knows every task of the test."""
    made = []

    def get() -> Executor:
        if not made:
            app.finalize()
            made.append(Executor(app, "unit@box"))
        return made[0]

    yield get
    for each in made:
        each.close()


def request(app, task, *args, kwargs=None, **options) -> Request:
    message = app.publisher.build(task.name, args, kwargs, task=task, **options)
    return Request(
        key=7, task=task.name, id=message.headers["id"], message=message, queue="celery", deliveries=1, received=0.0
    )


def value_of(app, outcome):
    (record,) = outcome.records
    return app.codecs.loads(record.payload, record.content_type)["result"]


def test_only_requests_of_async_tasks_are_async(app, executor):
    @app.task
    def plain():
        pass

    @app.task
    async def coroutine():
        pass

    assert not executor().is_async(request(app, plain))
    assert executor().is_async(request(app, coroutine))


def test_an_async_task_ends_the_same_called_or_awaited(app, executor):
    @app.task
    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    called = executor().execute(request(app, double, 4))
    awaited = asyncio.run(executor().aexecute(request(app, double, 4)))

    assert called.state == awaited.state == SUCCESS
    assert value_of(app, called) == value_of(app, awaited) == 8


@pytest.mark.parametrize(
    ("error", "state", "action"),
    [
        (ValueError("no"), FAILURE, Action.ACK),
        (SystemExit(3), FAILURE, Action.ACK),
        (Ignore(), IGNORED, Action.ACK),
        (Reject("never"), REJECTED, Action.DEAD),
        (Reject("later", requeue=True), REJECTED, Action.RELEASE),
    ],
)
def test_every_end_is_the_same_called_or_awaited(app, executor, error, state, action):
    @app.task(name="raises", acks_on_failure=True)
    async def raises():
        raise error

    called = executor().execute(request(app, raises))
    awaited = asyncio.run(executor().aexecute(request(app, raises)))

    assert (called.state, called.action) == (awaited.state, awaited.action) == (state, action)


def test_a_retry_on_a_loop_leaves_its_message_in_the_outcome(app, executor):
    @app.task(bind=True)
    async def again(self):
        raise self.retry(countdown=5)

    outcome = asyncio.run(executor().aexecute(request(app, again)))

    assert outcome.state == RETRY
    assert outcome.followups[0].headers["retries"] == 1


def test_a_thousand_runs_on_one_loop_each_see_their_own_request(app, executor):
    @app.task(bind=True)
    async def who(self, number):
        before = self.request.id
        await gate.wait()
        return [number, before, self.request.id]

    async def all_of_them():
        nonlocal gate
        gate = asyncio.Event()
        runs = [asyncio.create_task(executor().aexecute(each)) for each in requests]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*runs)

    gate: asyncio.Event
    requests = [request(app, who, number) for number in range(1000)]
    outcomes = asyncio.run(all_of_them())

    seen = [value_of(app, outcome) for outcome in outcomes]
    assert seen == [[number, each.id, each.id] for number, each in enumerate(requests)]


def test_a_cancelled_run_has_no_outcome_and_its_canceller_is_told(app, executor):
    @app.task
    async def waits():
        await asyncio.Event().wait()

    async def cancel():
        run = asyncio.create_task(executor().aexecute(request(app, waits)))
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(cancel())


def test_a_task_that_raises_cancelled_by_itself_has_failed(app, executor):
    @app.task
    async def awaits_what_was_cancelled():
        raise asyncio.CancelledError

    outcome = asyncio.run(executor().aexecute(request(app, awaits_what_was_cancelled)))

    assert outcome.state == FAILURE


def test_a_run_that_never_looks_at_its_request_has_none_made(app, executor):
    made = []

    @app.task
    def looks_away():
        made.append(_current.get().made)
        return 1

    @app.task(bind=True)
    def looks(self):
        assert self.request is self.request
        made.append(_current.get().made is self.request)

    executor().execute(request(app, looks_away))
    executor().execute(request(app, looks))

    assert made == [None, True]


def test_all_threads_of_a_run_see_the_same_request(app, executor):
    @app.task
    def spreads():
        contexts = [contextvars.copy_context() for _ in range(8)]
        gate = threading.Barrier(8)

        def look():
            gate.wait(10)
            return current_context()

        with ThreadPoolExecutor(8) as threads:
            found = [threads.submit(context.run, look) for context in contexts]
            return len({id(each.result()) for each in found})

    assert value_of(app, executor().execute(request(app, spreads))) == 1


def test_the_request_says_what_the_message_did(app, executor):
    @app.task(bind=True)
    def tells(self, *args, **kwargs):
        seen = self.request
        return [seen.id, seen.args, seen.kwargs, seen.hostname, seen.delivery_info, seen.tenant, seen.called_directly]

    given = request(app, tells, 1, kwargs={"k": 2}, headers={"tenant": "acme"})

    assert value_of(app, executor().execute(given)) == [
        given.id,
        [1],
        {"k": 2},
        "unit@box",
        {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False},
        "acme",
        False,
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'[[{"__type__": "date", "__value__": "2026-11-22"}], {}, {}]',
        b'[[{"__type__": "date", "__value__": "2026-11-22"}], {}, null]',
        b'{"args": [{"__type__": "date", "__value__": "2026-11-22"}]}',
    ],
)
def test_bodies_that_are_not_read_in_one_step_are_read_all_the_same(app, executor, body):
    @app.task
    def year(day):
        return day.year

    given = request(app, year, 1)
    given = replace(given, message=replace(given.message, body=body))

    assert value_of(app, executor().execute(given)) == 2026


@pytest.mark.parametrize("body", [b"[[], {}]", b"[1, {}, {}]", b'[[], {}, {"callbacks": 5}]', b"[["])
def test_a_body_that_cannot_be_read_is_a_dead_letter_and_a_failure(app, executor, body):
    @app.task
    def never():
        raise AssertionError

    given = request(app, never)
    outcome = executor().execute(replace(given, message=replace(given.message, body=body)))

    assert (outcome.state, outcome.action) == (FAILURE, Action.DEAD)
    assert outcome.records[0].state == FAILURE


def test_an_executor_is_rebuilt_from_the_path_of_its_app(tmp_path, monkeypatch):
    (tmp_path / "rebuilt_app.py").write_text(
        "from celeriac import Celeriac\n"
        "app = Celeriac('rebuilt', broker='memory://rebuilt', include=['rebuilt_tasks'])\n"
    )
    (tmp_path / "rebuilt_tasks.py").write_text(
        "from rebuilt_app import app\n@app.task(name='rebuilt.one')\ndef one():\n    return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])

    executor = rebuilt(Rebuild(app="rebuilt_app:app", hostname="child@box"))

    try:
        outcome = executor.execute(request(executor.app, executor.app.tasks["rebuilt.one"]))
        assert (executor.hostname, outcome.state) == ("child@box", SUCCESS)
    finally:
        executor.close()
        for name in ("rebuilt_app", "rebuilt_tasks"):
            sys.modules.pop(name, None)
