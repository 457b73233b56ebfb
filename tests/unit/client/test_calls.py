import pickle

import pytest

from celeriac import AsyncResult, Task, shared_task
from celeriac.client.app import Celeriac
from celeriac.errors import NotRegistered, StoreError

pytestmark = pytest.mark.plugins


class OwnResult(AsyncResult):
    """A result class of the user's own."""


def test_a_task_is_sent_by_its_name_without_being_registered(app, published):
    result = app.send_task("elsewhere.add", (1, 2), queue="other")

    (message,) = published()
    assert message.headers["id"] == result.id
    assert (message.headers["task"], message.routing_key) == ("elsewhere.add", "other")


def test_a_registered_task_lends_its_options_to_calls_by_name(app, published):
    app.task(name="known", queue="own", priority=3)(lambda: 1)

    app.send_task("known")

    (message,) = published()
    assert (message.routing_key, message.priority) == ("own", 3)


def test_a_signature_of_the_app_is_sent_applied_and_called(app, published):
    task = app.task(name="add")(lambda x, y: x + y)
    known, unknown = app.signature("add", (2,)), app.signature("elsewhere", (2,), queue="other")

    sent, sent_elsewhere = known.delay(1), unknown.delay(1)

    assert {message.headers["id"] for message in published()} == {sent.id, sent_elsewhere.id}
    assert known.apply((1,)).get() == 3
    assert known(1) == 3
    assert known.type is task
    assert known.freeze() == app.AsyncResult(known.id)
    with pytest.raises(NotRegistered):
        unknown()


def test_a_call_may_ask_for_a_result_class(app):
    task = app.task(name="add")(lambda: 1)

    assert type(task.apply_async(result_cls=OwnResult)) is OwnResult


def test_a_class_task_may_be_registered_with_options(app):
    class Named(Task):
        def run(self): ...

    task = app.register_task(Named, name="named", queue="own")

    assert (app.tasks["named"], task.queue) == (task, "own")


def test_a_shared_task_is_pickled_as_the_task_of_the_current_app(app):
    double = shared_task(name="library.double")(lambda x: x * 2)

    assert pickle.loads(pickle.dumps(double)) is app.tasks["library.double"]


def test_a_broker_that_cannot_be_opened_is_an_error_at_the_caller(tmp_path):
    (tmp_path / "file").touch()
    with Celeriac("wrong", broker=f"sqlite:///{tmp_path}/file/queue.db", set_as_current=False) as app:
        with pytest.raises(StoreError):
            app.send_task("x", timeout=0.2)
        assert app.connections._open == {}


def test_extended_results_tell_about_the_run(app):
    app.conf.result_extended = True
    task = app.task(name="add", store_eager_result=True)(lambda x, y: x + y)

    result = app.AsyncResult(task.apply((1,), {"y": 2}).id)

    assert (result.name, result.args, result.kwargs, result.retries) == ("add", [1], {"y": 2}, 0)
    assert result.worker
    assert result.queue == "celery"
