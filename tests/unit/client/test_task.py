import asyncio
import pickle

import pytest

from celeriac import Task
from celeriac.client.context import Context, pop, push
from celeriac.errors import ConfigurationError
from celeriac.model.protocol import task_headers

pytestmark = pytest.mark.plugins


def other_function(): ...


def running(app, task, **headers):
    table = task_headers(task=task.name, id="id", origin="o", argsrepr="()", kwargsrepr="{}")
    return Context.from_message({**table, **headers}, [], {}, None)


# -- calling ---------------------------------------------------------------------------------------


def test_a_direct_call_runs_the_function(app):
    @app.task(bind=True)
    def whoami(self, x):
        return self.name, self.request.called_directly, self.request.args, x

    assert whoami(1) == (whoami.name, True, (1,), 1)


def test_a_direct_call_inside_a_run_is_another_run_of_the_same_id(app):
    @app.task(bind=True, name="inner")
    def inner(self):
        return self.request.called_directly, self.request.id

    outer = running(app, inner)
    token = push(outer)
    try:
        answer = inner()
    finally:
        pop(token)

    assert answer == (True, "id")
    assert outer.called_directly is False


def test_a_worker_calls_the_overridden_call_and_it_sees_the_real_run(app):
    seen = []

    class Wrapping(Task):
        def __call__(self, *args, **kwargs):
            seen.append("before")
            return super().__call__(*args, **kwargs)

    @app.task(base=Wrapping, bind=True)
    def whoami(self):
        return self.request.called_directly

    token = push(running(app, whoami))
    try:
        answer = whoami.entry()
    finally:
        pop(token)

    assert (answer, seen) == (False, ["before"])


def test_an_async_task_called_directly_gives_its_coroutine(app):
    @app.task(bind=True)
    async def double(self, x):
        return x * 2, self.request.called_directly

    assert double.is_async
    assert asyncio.run(double(2)) == (4, True)


def test_an_async_task_keeps_its_base_class(app):
    class Base(Task):
        label = "base"

    @app.task(base=Base)
    async def double(x):
        return x * 2

    assert isinstance(double, Base)
    assert asyncio.run(double(2)) == 4


def test_arguments_that_do_not_fit_are_refused_at_the_caller(app):
    @app.task
    def add(x, y=1): ...

    for call in (add.delay, lambda: add.apply_async((1, 2, 3)), lambda: add.delay(1, z=2)):
        with pytest.raises(TypeError, match=r"add\(x, y=1\)"):
            call()
    with pytest.raises(TypeError, match="args must be a list or tuple"):
        add.apply_async("ab")


def test_arguments_are_not_checked_where_typing_is_off(app):
    task = app.task(typing=False)(lambda x: x)

    assert task.delay().id


def test_adelay_publishes(app, published):
    task = app.task(lambda x: x, name="later")

    result = asyncio.run(task.adelay(1))

    assert [message.headers["id"] for message in published()] == [result.id]


def test_an_ignored_result_is_known_to_be(app):
    task = app.task(ignore_result=True)(other_function)

    result = task.delay()

    assert result.ignored
    assert result.get() is None


def test_what_a_task_starts_are_its_children(app):
    task = app.task(other_function)
    silent = app.task(name="silent", trail=False)(lambda: 1)
    kept, dropped = running(app, task), running(app, silent)

    for context in (kept, dropped):
        token = push(context)
        try:
            started = task.delay()
            task.apply_async(add_to_parent=False)
        finally:
            pop(token)
        if context is kept:
            expected = started

    assert kept.children == [expected]
    assert kept.children_tuples() == [((expected.id, None), None)]
    assert dropped.children == []


def test_shadow_name_names_the_call(app, published):
    class Named(Task):
        def shadow_name(self, args, kwargs, options):
            return f"{self.name}:{args[0]}"

    app.task(base=Named, name="named")(lambda x: x).delay(7)

    assert published()[0].headers["shadow"] == "named:7"


def test_a_task_is_pickled_by_its_name(app):
    task = app.task(name="kept")(other_function)

    assert pickle.loads(pickle.dumps(task)) is task


def test_update_state_stores_a_state_of_the_tasks_own(app):
    task = app.task(other_function)
    token = push(running(app, task))
    try:
        task.update_state(state="PROGRESS", meta={"done": 3})
    finally:
        pop(token)

    result = app.AsyncResult("id")
    assert (result.state, result.info, result.ready()) == ("PROGRESS", {"done": 3}, False)
    with pytest.raises(ConfigurationError, match="task_id"):
        task.update_state(state="PROGRESS")
