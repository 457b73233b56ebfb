import sys
from datetime import UTC, datetime, timedelta

import pytest

from celeriac import current_app, current_task, events, get_current_app, shared_task
from celeriac.client import state
from celeriac.client.app import Celeriac
from celeriac.client.context import Context, pop, push
from celeriac.errors import ConfigurationError, InvalidSetting, UnknownSetting
from celeriac.model.protocol import task_headers


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Give a function that writes a module that can be imported, until the end of the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source=""):
        path = tmp_path.joinpath(*name.split("."))
        for parent in reversed(path.relative_to(tmp_path).parents):
            if str(parent) != ".":
                (tmp_path / parent).mkdir(exist_ok=True)
                (tmp_path / parent / "__init__.py").touch()
        path.with_suffix(".py").write_text(source)
        return name

    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def make(*args, **keywords):
    return Celeriac(*args, **{"set_as_current": False, **keywords})


# -- settings --------------------------------------------------------------------------------------


def test_arguments_become_settings():
    app = make("proj", broker="memory://a", backend="memory://b", include=["tasks"], task_default_queue="jobs")

    conf = app.conf
    assert (conf.broker_url, conf.result_backend, conf.include) == ("memory://a", "memory://b", ("tasks",))
    assert conf.task_default_queue == "jobs"


def test_a_misspelt_setting_is_refused_with_the_nearest():
    with pytest.raises(UnknownSetting, match="Did you mean 'task_default_queue'"):
        make(task_default_queu="x").conf.resolve()


def test_settings_come_from_objects_modules_and_variables(module, monkeypatch):
    monkeypatch.setenv("MY_SETTINGS", module("settings_by_variable", "task_default_queue = 'c'"))

    mapping, by_path, by_variable = make(), make(namespace="CELERY"), make()
    mapping.config_from_object({"task_default_queue": "a"})
    by_path.config_from_object(module("settings_by_path", "CELERY_TASK_DEFAULT_QUEUE = 'b'"))
    found = by_variable.config_from_envvar("MY_SETTINGS")

    assert [each.conf.task_default_queue for each in (mapping, by_path, by_variable)] == ["a", "b", "c"]
    assert found


def test_a_configuration_source_is_read_when_the_first_setting_is(module):
    source = module("settings_late", "raise SystemExit('too early')")

    app = make(config_source=source)

    with pytest.raises(SystemExit):
        app.conf.task_default_queue  # noqa: B018


def test_a_missing_module_may_be_silent_but_not_a_wrong_one(module):
    app = make()

    app.config_from_object("no_such_module", silent=True)

    assert app.conf.task_default_queue == "celery"
    with pytest.raises(ConfigurationError, match="no_such_module"):
        app.config_from_object("no_such_module", force=True)
    with pytest.raises(InvalidSetting):
        app.config_from_object(module("settings_wrong", "task_default_queue = 7"), silent=True)


def test_a_variable_that_names_no_module_is_refused_unless_silent(monkeypatch):
    monkeypatch.delenv("MY_SETTINGS", raising=False)

    assert make().config_from_envvar("MY_SETTINGS", silent=True) is False
    with pytest.raises(ConfigurationError, match="MY_SETTINGS"):
        make().config_from_envvar("MY_SETTINGS")


def test_moments_are_in_the_zone_of_the_app():
    berlin, local = make(timezone="Europe/Berlin"), make(enable_utc=False)
    moment = datetime(2030, 7, 1, 12, tzinfo=UTC)

    assert berlin.now().utcoffset() in (timedelta(hours=1), timedelta(hours=2))
    assert berlin.in_wire_zone(moment).isoformat() == "2030-07-01T12:00:00+00:00"
    assert make(timezone="Europe/Berlin", enable_utc=False).in_wire_zone(moment).isoformat().endswith("+02:00")
    assert make().timezone is UTC
    assert local.timezone.utcoffset(moment.replace(tzinfo=None)) is not None


def test_listeners_are_told_of_configuration_and_of_complete_tasks():
    app = make()
    seen = []
    app.on_after_configure.connect(lambda sender, source, **_: seen.append(source))
    app.on_after_finalize.connect(lambda sender, **_: seen.append(sender))

    app.config_from_object({})
    app.task(name="a")(lambda: 1)
    app.finalize()
    app.finalize()

    assert seen == [{}, app]


# -- modules of tasks ------------------------------------------------------------------------------


def test_a_worker_imports_what_settings_and_discovery_name(module):
    module("found_package.tasks")
    module("found_by_callable.jobs")
    app = make(imports=[module("imported")], include=[module("included")])
    app.autodiscover_tasks(["found_package", "found_package.empty"][:1])
    app.autodiscover_tasks(lambda: ["found_by_callable"], related_name="jobs")
    seen = []
    events.import_modules.connect(lambda sender, **_: seen.append(sender), sender=app)

    assert "imported" not in sys.modules
    app.import_modules()

    assert {"imported", "included", "found_package.tasks", "found_by_callable.jobs"} <= set(sys.modules)
    assert seen == [app]


def test_a_package_without_tasks_is_skipped_but_a_broken_one_is_not(module):
    module("without.other")
    module("damaged.tasks", "import no_such_dependency")

    make().autodiscover_tasks(["without"], force=True)

    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        make().autodiscover_tasks("damaged", force=True)


# -- the current app and shared tasks --------------------------------------------------------------


@pytest.fixture
def two_apps():
    before = list(state._default)
    yield make("first"), make("second")
    state._default[:] = before
    state._chosen.set(None)


def test_the_newest_app_is_current_unless_another_was_chosen(two_apps):
    first, second = two_apps

    first.set_default()
    by_default = get_current_app()
    second.set_current()

    assert (by_default, get_current_app()) == (first, second)
    assert current_app.main == "second"
    assert "second" in repr(current_app)


def test_without_an_app_the_error_says_how_to_make_one(two_apps):
    state.make_default(None)

    with pytest.raises(ConfigurationError, match="Celeriac"):
        current_app.conf  # noqa: B018
    assert repr(current_app) == "<no current app>"


def test_a_shared_task_is_one_of_every_app_also_of_later_ones(two_apps):
    first, second = two_apps
    first.finalize()

    @shared_task(name="library.double")
    def double(x):
        """Double."""
        return x * 2

    later = make("later")
    found = [app.tasks["library.double"] for app in (first, second, later)]

    assert len(set(map(id, found))) == 3
    assert (double.__name__, double.__doc__) == ("double", "Double.")
    for app in two_apps:
        app.set_current()
        assert double.app is app
        assert double(4) == 8


def test_an_app_may_have_its_own_task_under_the_name_of_a_shared_one(two_apps):
    @shared_task(name="library.triple")
    def triple(x):
        return x * 3

    own = two_apps[0].task(name="library.triple")(lambda x: -x)

    assert two_apps[0].tasks["library.triple"] is own
    assert two_apps[1].tasks["library.triple"](1) == 3


def test_a_task_of_an_app_can_be_shared(two_apps):
    first, second = two_apps

    first.task(name="shared.from.first", shared=True)(lambda: 1)

    assert second.tasks["shared.from.first"]() == 1


def test_current_task_is_the_one_that_runs(two_apps):
    app = two_apps[0]
    app.set_current()
    task = app.task(name="here")(lambda: 1)
    outside = bool(current_task)
    headers = task_headers(task="here", id="id", origin="o", argsrepr="()", kwargsrepr="{}")
    token = push(Context.from_message(headers, [], {}, None))
    try:
        inside = (bool(current_task), current_task.name, app.current_task)
    finally:
        pop(token)

    assert outside is False
    assert inside == (True, "here", task)
    assert repr(current_task) == "<no current task>"
    with pytest.raises(AttributeError, match="No task runs here"):
        current_task.name  # noqa: B018


def test_both_call_styles_share_a_task(two_apps):
    plain = shared_task(lambda x: x)
    named = shared_task(name="library.named")(lambda x: x)
    two_apps[0].set_current()

    assert (plain(1), named(1), named.name) == (1, 1, "library.named")
    assert "shared task" in repr(plain)
