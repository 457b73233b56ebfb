import asyncio

import pytest

from celeriac import Task, events
from celeriac.errors import EncodeError, Ignore, NotRegistered, Reject
from celeriac.model.record import REVOKED

pytestmark = pytest.mark.plugins


def test_apply_runs_the_task_and_its_result_passed_the_serializer(app):
    @app.task(bind=True)
    def pair(self, x):
        return (x, self.request.is_eager, self.request.called_directly)

    result = pair.apply(((1, 2),))

    assert result.get() == [[1, 2], True, False]
    assert (result.state, result.successful(), result.failed(), result.ready()) == ("SUCCESS", True, False, True)
    assert result.name == pair.name
    assert result.date_done is not None


def test_arguments_that_would_not_reach_a_worker_do_not_reach_the_task(app):
    task = app.task(lambda x: x, name="echo")

    with pytest.raises(EncodeError):
        task.apply((object(),))
    assert task.apply(({1: "a"},)).get() == {"1": "a"}


def test_a_failure_keeps_the_very_exception(app):
    error = ValueError("v")

    @app.task
    def fail():
        raise error

    result = fail.apply()

    assert result.state == "FAILURE"
    assert result.result is error
    assert "raise error" in result.traceback
    assert result.get(propagate=False) is error
    with pytest.raises(ValueError, match="v") as caught:
        result.get()
    assert caught.value is error


def test_throw_raises_at_the_caller(app):
    task = app.task(lambda: 1 // 0, name="fail")

    with pytest.raises(ZeroDivisionError):
        task.apply(throw=True)


def test_the_setting_runs_calls_at_once_and_may_raise(app, published):
    task = app.task(lambda x: 1 // x, name="divide")
    app.conf.task_always_eager = True

    assert task.delay(1).get() == 1
    assert task.apply_async((1,), countdown=1000, queue="other").get() == 1
    assert app.send_task("divide", (1,)).get() == 1
    assert task.s(1).delay().get() == 1
    assert [each.get() for each in app.publish_many([task.s(1), task.s(1)])] == [1, 1]
    assert task.delay(0).state == "FAILURE"
    app.conf.task_eager_propagates = True
    with pytest.raises(ZeroDivisionError):
        task.delay(0)
    assert published() == []


def test_wrong_options_and_arguments_are_refused_as_in_a_real_call(app):
    task = app.task(lambda x: x, name="echo")
    app.conf.task_always_eager = True

    with pytest.raises(TypeError, match="countdown"):
        task.apply_async((1,), countdwon=1)
    with pytest.raises(TypeError):
        task.delay()


def test_handlers_and_events_run_in_order(app):
    seen = []

    class Watching(Task):
        def before_start(self, *args):
            seen.append("before_start")

        def on_success(self, *args):
            seen.append("on_success")

        def after_return(self, *args):
            seen.append("after_return")

    task = app.task(base=Watching)(lambda: seen.append("body"))

    def note(sender, **_):
        seen.append("event")

    events.task_prerun.connect(note, sender=task)
    events.task_postrun.connect(note, sender=task)
    try:
        task.apply()
    finally:
        events.task_prerun.disconnect(note)
        events.task_postrun.disconnect(note)

    assert seen == ["event", "before_start", "body", "on_success", "after_return", "event"]


def test_retries_follow_at_once(app):
    tried = []

    @app.task(bind=True, autoretry_for=(ValueError,), retry_backoff=1000, max_retries=3)
    def flaky(self):
        tried.append(self.request.retries)
        if self.request.retries < 2:
            raise ValueError("again")
        return "done"

    assert flaky.apply().get() == "done"
    assert tried == [0, 1, 2]


def test_retries_end_with_the_cause(app):
    tried = []

    @app.task(autoretry_for=(ValueError,), max_retries=2)
    def flaky():
        tried.append(1)
        raise ValueError("again")

    result = flaky.apply()

    assert isinstance(result.result, ValueError)
    assert len(tried) == 3


def test_a_retry_that_does_not_end_the_run_happens_too(app):
    tried = []

    @app.task(bind=True)
    def both(self):
        tried.append(self.request.retries)
        if not self.request.retries:
            self.retry(throw=False)
        return self.request.retries

    assert both.apply().get() == 0
    assert tried == [0, 1]


def test_links_and_the_chain_run_with_the_value(app):
    seen = []
    add = app.task(lambda x, y: x + y, name="add")
    note = app.task(lambda value: seen.append(value) or value, name="note")

    result = add.apply((1, 2), link=note.s(), chain=[note.s(), add.s(10)])

    assert result.get() == 3
    assert seen == [3, 13]
    assert [child.name for child in result.children] == ["note", "add"]


def test_error_links_run_when_it_fails(app):
    seen = []
    fail = app.task(lambda: 1 // 0, name="fail")
    by_id = app.task(lambda failed: seen.append(failed) or failed, name="by_id")

    result = fail.apply(link_error=by_id.s())

    assert seen == [result.id]


def test_a_link_that_is_not_registered_is_said_to_be(app):
    task = app.task(lambda: 1, name="one")

    with pytest.raises(NotRegistered, match="elsewhere"):
        task.apply(link=app.signature("elsewhere"))


@pytest.mark.parametrize(("error", "state"), [(Ignore(), "IGNORED"), (Reject("r"), "FAILURE")])
def test_what_a_task_says_of_its_own_end_is_its_state_as_a_worker_stores_it(app, error, state):
    @app.task
    def ends():
        raise error

    assert ends.apply().state == state


def test_an_async_task_runs_and_its_exception_is_kept(app):
    error = ValueError("v")

    @app.task(bind=True)
    async def double(self, x):
        await asyncio.sleep(0)
        if x < 0:
            raise error
        return x * 2, self.request.is_eager

    assert double.apply((2,)).get() == [4, True]
    assert double.apply((-1,)).result is error


def test_a_call_inside_an_eager_task_is_its_child_and_may_be_waited_for(app):
    app.conf.task_always_eager = True
    inner = app.task(lambda: 7, name="inner")
    outer = app.task(lambda: inner.delay().get(), name="outer")

    result = outer.delay()

    assert result.get() == 7
    assert [child.name for child in result.children] == ["inner"]


def test_an_eager_result_is_stored_only_where_told_to(app):
    kept = app.task(lambda: 7, name="kept", store_eager_result=True).apply()
    unkept = app.task(lambda: 7, name="unkept").apply()

    assert app.AsyncResult(kept.id).get(timeout=1) == 7
    assert not app.AsyncResult(unkept.id).exists()


def test_an_eager_run_may_update_its_state_without_a_store(app):
    @app.task(bind=True)
    def works(self):
        self.update_state(state="PROGRESS", meta={})

    result = works.apply()

    assert result.successful()
    assert not app.AsyncResult(result.id).exists()


def test_an_eager_result_can_be_called_revoked(app):
    result = app.task(lambda: 7, name="seven").apply()

    result.revoke()
    result.forget()

    assert result.state == REVOKED


def test_an_eager_result_is_awaitable(app):
    result = app.task(lambda: 7, name="seven").apply()

    async def wait():
        return await result

    assert asyncio.run(wait()) == 7
