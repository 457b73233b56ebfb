"""How a task may end, and what follows it, on each embedded broker."""

from __future__ import annotations

import pytest
from running import eventually, running

from celeriac.errors import Ignore, MaxRetriesExceededError, Reject


@pytest.fixture(params=["solo", "threads"])
def pool(request):
    return request.param


def letters(transport, kind=None):
    return transport.letters(kind, limit=100, timeout=5)


def left(transport):
    return sum(depth.waiting + depth.delayed + depth.held for depth in transport.depths(timeout=5))


def test_a_task_retries_until_it_succeeds(app):
    runs = []

    @app.task(bind=True, max_retries=5)
    def flaky(self):
        runs.append(self.request.retries)
        if self.request.retries < 3:
            raise self.retry(countdown=0)
        return "done"

    with running(app):
        assert flaky.delay().get(timeout=10) == "done"
    assert runs == [0, 1, 2, 3]


def test_a_task_out_of_retries_fails_with_its_cause(app):
    @app.task(bind=True, max_retries=1)
    def hopeless(self, exc=None):
        raise self.retry(countdown=0, exc=ValueError("still") if exc else None)

    with running(app):
        with pytest.raises(ValueError, match="still"):
            hopeless.delay(exc=True).get(timeout=10)
        with pytest.raises(MaxRetriesExceededError):
            hopeless.delay().get(timeout=10)


def test_automatic_retries_back_off(app):
    runs = []

    @app.task(autoretry_for=(ConnectionError,), retry_backoff=0.01, retry_jitter=False, max_retries=3)
    def flaky():
        runs.append(True)
        if len(runs) < 3:
            raise ConnectionError("reset")
        return len(runs)

    with running(app):
        assert flaky.delay().get(timeout=10) == 3


def test_callbacks_run_with_the_result_and_are_its_children(app):
    @app.task
    def add(x, y):
        return x + y

    seen = []

    @app.task
    def note(value, label):
        seen.append((value, label))
        return label

    with running(app):
        result = add.apply_async((1, 2), link=[note.s("first"), note.s("second")])
        result.get(timeout=10)
        children = eventually(lambda: result.children, "children")

        assert sorted(child.get(timeout=10) for child in children) == ["first", "second"]
    assert sorted(seen) == [(3, "first"), (3, "second")]


def test_a_chain_of_another_client_goes_on_step_by_step(app):
    @app.task
    def add(x, y):
        return x + y

    last = {"task": add.name, "args": [100], "kwargs": {}, "options": {"task_id": "last"}, "immutable": False}
    middle = {"task": add.name, "args": [10], "kwargs": {}, "options": {"task_id": "middle"}, "immutable": False}

    with running(app):
        add.apply_async((1, 2), chain=[last, middle], task_id="first")

        assert app.AsyncResult("last").get(timeout=10) == 113
    assert app.AsyncResult("middle").result == 13


def test_the_later_steps_of_a_failed_chain_fail_with_it(app):
    @app.task
    def fail():
        raise ValueError("first step")

    @app.task
    def never(x):
        raise AssertionError

    step = {"task": never.name, "args": [], "kwargs": {}, "options": {"task_id": "later"}, "immutable": False}

    with running(app):
        fail.apply_async(chain=[step])

        with pytest.raises(ValueError, match="first step"):
            app.AsyncResult("later").get(timeout=10)


def test_an_error_callback_is_told_the_failed_task(app):
    told = []

    @app.task
    def fail():
        raise ValueError("no")

    @app.task
    def by_id(task_id):
        told.append(task_id)

    @app.task
    def in_detail(request, error, traceback):
        told.append((request.id, repr(error)))

    with running(app):
        result = fail.apply_async(link_error=[by_id.s(), in_detail.s()])

        eventually(lambda: len(told) == 2, "both error callbacks")
    assert set(told) == {result.id, (result.id, "ValueError('no')")}


def test_an_ignored_task_leaves_no_result(app, transport):
    @app.task
    def ignore():
        raise Ignore

    with running(app):
        result = ignore.delay()
        eventually(lambda: left(transport) == 0, "it is acknowledged")

    assert result.state == "PENDING"


def test_a_rejected_task_is_a_dead_letter(app, transport):
    @app.task
    def reject():
        raise Reject("not like this")

    with running(app):
        result = reject.delay()
        with pytest.raises(Reject):
            result.get(timeout=10)

    (letter,) = letters(transport, "dead")
    assert "not like this" in letter.reason


def test_a_task_rejected_for_now_runs_again(app):
    runs = []

    @app.task
    def picky():
        runs.append(True)
        if len(runs) < 3:
            raise Reject("later", requeue=True)
        return len(runs)

    with running(app):
        assert picky.delay().get(timeout=10) == 3


def test_a_failed_task_is_a_dead_letter_if_it_is_not_acknowledged(app, transport):
    @app.task(acks_on_failure=False)
    def fail():
        raise ValueError("keep me")

    with running(app), pytest.raises(ValueError, match="keep me"):
        fail.delay().get(timeout=10)

    (letter,) = letters(transport, "dead")
    assert "keep me" in letter.reason


def test_a_task_called_in_a_task_is_its_child(app):
    @app.task
    def inner():
        return "inner"

    @app.task
    def outer():
        return inner.delay().id

    with running(app):
        result = outer.delay()
        inner_id = result.get(timeout=10)

        assert [child.id for child in result.children] == [inner_id]
        assert app.AsyncResult(inner_id).get(timeout=10) == "inner"


def test_waiting_for_a_result_in_a_task_is_refused_with_the_way_out(app):
    @app.task
    def inner():
        return 1

    @app.task
    def outer():
        return inner.delay().get(timeout=1)

    with running(app), pytest.raises(RuntimeError, match="allow_join_result"):
        outer.delay().get(timeout=10)


def test_handlers_are_called_around_the_task(app):
    called = []

    class Noting(app.Task):
        def before_start(self, task_id, args, kwargs):
            called.append("before_start")

        def on_success(self, retval, task_id, args, kwargs):
            called.append(("on_success", retval))
            raise RuntimeError("a handler that fails changes nothing")

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            called.append(("on_failure", str(exc)))

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            called.append("on_retry")

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            called.append(("after_return", status))

    @app.task(base=Noting, bind=True)
    def work(self, how):
        if how == "fail":
            raise ValueError("no")
        if how == "retry" and not self.request.retries:
            raise self.retry(countdown=0)
        return how

    with running(app):
        assert work.delay("well").get(timeout=10) == "well"
        with pytest.raises(ValueError, match="no"):
            work.delay("fail").get(timeout=10)
        assert work.delay("retry").get(timeout=10) == "retry"
    assert called == [
        "before_start", ("on_success", "well"), ("after_return", "SUCCESS"),
        "before_start", ("on_failure", "no"), ("after_return", "FAILURE"),
        "before_start", "on_retry", "before_start", ("on_success", "retry"), ("after_return", "SUCCESS"),
    ]  # fmt: skip


def test_a_member_of_a_chord_waits_for_a_worker_whose_result_store_can_join_it(app, transport, tmp_path):
    app.conf.result_backend = f"file://{tmp_path}"

    @app.task
    def add(x, y):
        return x + y

    body = {"task": add.name, "args": [], "kwargs": {}, "options": {"task_id": "body"}, "immutable": False}

    with running(app):
        app.publisher.send([app.publisher.build(add.name, (1, 2), task=add, chord=body)])
        (letter,) = eventually(lambda: letters(transport, "parked"), "a parked message")
        assert add.delay(1, 2).get(timeout=10) == 3

    assert "chord" in letter.reason
