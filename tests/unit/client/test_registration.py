import inspect
from types import SimpleNamespace

import pytest

from celeriac import Task
from celeriac.client.decorating import task_name
from celeriac.client.registry import Registry
from celeriac.errors import AlreadyRegistered, ConfigurationError, NotRegistered

pytestmark = pytest.mark.plugins


def other_function(): ...


# -- making tasks ----------------------------------------------------------------------------------


def test_a_task_is_named_after_its_module_and_function(app):
    @app.task
    def add(x, y):
        """Add."""
        return x + y

    assert add.name == f"{__name__}.add"
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", __name__)
    assert list(inspect.signature(add).parameters) == ["x", "y"]
    assert app.tasks[add.name] is add


def test_a_task_of_the_main_program_is_named_after_the_app(app):
    function = SimpleNamespace(__name__="add")
    app.main = "proj"

    assert task_name(app, function.__name__, "__main__") == "proj.add"


def test_every_call_style_of_the_decorator_makes_a_task(app):
    tasks = [
        app.task(lambda: 1, name="a"),
        app.task(name="b")(lambda: 1),
        app.task()(other_function),
    ]

    assert all(isinstance(task, Task) for task in tasks)


def test_what_is_no_function_is_refused(app):
    with pytest.raises(TypeError, match="takes a function"):
        app.task(7)


def test_two_tasks_of_one_name_are_an_error_that_says_where_they_are(app):
    app.task(name="same")(lambda: 1)

    with pytest.raises(AlreadyRegistered, match=r"same.*test_registration\.py"):
        app.task(name="same")(other_function)


def test_the_same_function_may_be_registered_again(app):
    first = app.task(name="same")(other_function)
    second = app.task(name="same", priority=3)(other_function)

    assert first is not second
    assert app.tasks["same"] is second


def test_a_missing_task_is_an_error_with_the_nearest_name(app):
    app.task(name="proj.add")(other_function)

    with pytest.raises(NotRegistered, match=r"Did you mean 'proj\.add'"):
        app.tasks["proj.ad"]
    assert app.tasks.get("proj.ad") is None
    assert isinstance(app.tasks, Registry)


def test_a_misspelt_option_is_refused_with_the_nearest(app):
    with pytest.raises(TypeError, match="Did you mean 'max_retries'"):
        app.task(max_retrys=3)(other_function)


@pytest.mark.parametrize("option", ["pydantic", "backend", "Strategy"])
def test_an_option_of_celery_without_a_counterpart_says_what_to_do(app, option):
    with pytest.raises(TypeError, match=rf"no option '{option}'\. [A-Z]"):
        app.task(**{option: True})(other_function)


@pytest.mark.parametrize(
    "option",
    [
        {"max_retries": "3"},
        {"acks_late": 1},
        {"autoretry_for": ValueError},
        {"throws": (1,)},
        {"rate_limit": "10/d"},
        {"priority": 300},
        {"default_retry_delay": -1},
        {"retry_kwargs": 3},
        {"retry_backoff": -2},
    ],
)
def test_a_value_of_the_wrong_type_is_refused_where_it_is_written(app, option):
    with pytest.raises(TypeError, match=next(iter(option))):
        app.task(**option)(other_function)


def test_a_soft_limit_above_the_hard_one_is_refused_where_it_is_written(app):
    with pytest.raises(ValueError, match="soft_time_limit"):
        app.task(time_limit=1, soft_time_limit=2)(other_function)


def test_a_filter_may_replace_the_task(app):
    seen = []

    def keep(task):
        seen.append(task.name)
        return task

    app.task(name="kept", filter=keep)(other_function)

    assert seen == ["kept"]


def test_a_task_that_is_not_lazy_is_complete_at_once(app):
    bound = []

    class Watching(Task):
        def on_bound(self, app):
            bound.append(self.name)

    app.task(name="later", base=Watching)(other_function)
    assert bound == []
    app.task(name="now", base=Watching, lazy=False)(lambda: 1)

    assert bound == ["later", "now"]


# -- options ---------------------------------------------------------------------------------------


def test_options_default_to_the_settings_and_follow_them(app):
    task = app.task(other_function)
    before = (task.acks_late, task.ignore_result, task.serializer)

    app.conf.update(task_acks_late=False, task_ignore_result=True)

    assert before == (True, False, "json")
    assert (task.acks_late, task.ignore_result) == (False, True)


def test_options_of_the_task_win_over_the_settings(app):
    task = app.task(acks_late=False, ignore_result=True, max_deliveries=1)(other_function)

    assert (task.acks_late, task.ignore_result, task.max_deliveries) == (False, True, 1)


def test_none_means_the_setting(app):
    assert app.task(serializer=None)(other_function).serializer == "json"


def test_the_umbrella_of_two_options_sets_both(app):
    task = app.task(acks_on_failure_or_timeout=False, acks_on_timeout=True)(other_function)

    assert (task.acks_on_failure, task.acks_on_timeout) == (False, True)


def test_options_are_inherited_along_the_classes(app):
    class Base(Task):
        acks_late = False
        queue = "base"

    class Nearer(Base):
        queue = "nearer"

    task = app.task(base=Nearer, priority=3)(other_function)

    assert (task.acks_late, task.queue, task.priority) == (False, "nearer", 3)
    assert task.execution_options() == {"queue": "nearer", "priority": 3}


def test_an_attribute_of_a_base_class_of_the_users_own_is_an_option(app):
    class WithDatabase(Task):
        database = None

    assert app.task(base=WithDatabase, database="x")(other_function).database == "x"


def test_an_attribute_that_is_nowhere_is_an_attribute_error(app):
    with pytest.raises(AttributeError, match="'wrong'"):
        app.task(other_function).wrong  # noqa: B018


def test_annotations_set_attributes_of_tasks(app):
    class ByObject:
        def annotate(self, task):
            return {"rate_limit": "3/s"} if task.name == "b" else None

    app.conf.task_annotations = [{"*": {"priority": 1}, "a": {"priority": 2}}, ByObject()]
    a, b = app.task(name="a")(other_function), app.task(name="b")(lambda: 1)

    assert {name: app.tasks[name].priority for name in "ab"} == {"a": 2, "b": 1}
    assert (a.rate_limit, b.rate_limit) == (None, "3/s")


def test_an_annotation_may_wrap_a_handler(app):
    seen = []
    app.conf.task_annotations = {"a": {"@on_failure": lambda inner, *args: seen.append(args)}}
    app.task(name="a")(other_function)

    app.tasks["a"].on_failure(1, 2)

    assert seen == [(1, 2)]


def test_annotations_count_from_the_first_call_on(app):
    app.conf.task_annotations = {"a": {"queue": "annotated"}}

    result = app.task(name="a")(other_function).delay()

    assert result.id
    assert {d.queue: d.waiting for d in app.connections.transport().depths(timeout=1)}["annotated"] == 1


# -- classes ---------------------------------------------------------------------------------------


class Greeting(Task):
    greeting = "Hello"

    def run(self, name):
        return f"{self.greeting} {name}"


@pytest.mark.parametrize("given", [Greeting, Greeting()])
def test_a_class_becomes_a_task(app, given):
    task = app.register_task(given)

    assert task.name == f"{__name__}.Greeting"
    assert task("you") == "Hello you"
    with pytest.raises(TypeError, match="Greeting"):
        task.delay()


def test_a_task_that_is_not_registered_says_so():
    with pytest.raises(ConfigurationError, match="register_task"):
        Greeting().entry  # noqa: B018


def test_a_class_without_run_says_so(app):
    class Empty(Task): ...

    with pytest.raises(NotImplementedError, match="Empty must define run"):
        app.register_task(Empty)()
