from __future__ import annotations

import os
import sys
import threading
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.config.setting import Setting
from celeriac.config.settings import Settings
from celeriac.errors import ConfigurationError, InvalidSetting, UnknownSetting


@pytest.fixture
def module_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some_settings.py").write_text(
        "task_serializer = 'pickle'\nclass Nested:\n    worker_concurrency = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("some_settings", None)


def plugin_setting(**changes: object) -> Setting:
    return Setting(**{"name": "red_limit", "type": int, "default": 7, "doc": "A limit.", **changes})


def test_a_setting_nobody_gave_has_its_default() -> None:
    conf = Settings()

    assert conf.task_serializer == "json"
    assert conf.explain("task_serializer").source == "default"


def test_the_stronger_source_wins_however_they_were_given() -> None:
    conf = Settings(keywords={"worker_concurrency": 2}, environ={})
    conf.config_from_object({"worker_concurrency": 1, "task_serializer": "yaml"})
    assert (conf.worker_concurrency, conf.task_serializer) == (2, "yaml")

    conf = Settings(keywords={"worker_concurrency": 2}, environ={"CELERIAC_WORKER_CONCURRENCY": "3"})
    conf.worker_concurrency = 5
    assert conf.worker_concurrency == 3
    assert conf.explain("worker_concurrency").source == "CELERIAC_WORKER_CONCURRENCY"

    conf.override({"worker_concurrency": "4"})
    assert conf.worker_concurrency == 4
    assert conf.explain("worker_concurrency").source == "the command line"


def test_an_assignment_replaces_a_keyword_and_is_read_back_as_attribute_and_item() -> None:
    conf = Settings(keywords={"result_serializer": "yaml"})
    before = conf.result_serializer

    conf["result_serializer"] = "pickle"

    assert (before, conf.result_serializer, conf["result_serializer"]) == ("yaml", "pickle", "pickle")


def test_a_resolved_setting_is_a_plain_attribute_of_the_instance() -> None:
    conf = Settings()

    conf.resolve()

    assert vars(conf)["task_serializer"] == "json"


def test_a_module_is_imported_at_the_first_read_only(module_on_path: Path) -> None:
    conf = Settings()

    conf.config_from_object("some_settings")

    assert "some_settings" not in sys.modules
    assert conf.task_serializer == "pickle"
    assert conf.explain("task_serializer").source == "some_settings"


@pytest.mark.parametrize("path", ["some_settings:Nested", "some_settings.Nested"])
def test_a_class_in_a_module_is_named_with_colon_or_dot(module_on_path: Path, path: str) -> None:
    conf = Settings()

    conf.config_from_object(path)

    assert conf.worker_concurrency == 3


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no_such_module_here", "No module named 'no_such_module_here'"),
        ("some_settings:Nope", "no attribute 'Nope'"),
        ("some_settings.Nope", "some_settings.Nope"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_clear_error(module_on_path: Path, path: str, problem: str) -> None:
    conf = Settings()
    conf.config_from_object(path)

    with pytest.raises(ConfigurationError, match="Cannot import settings") as caught:
        conf.resolve()

    assert problem in str(caught.value)


def test_a_missing_import_inside_the_module_is_named_itself(module_on_path: Path) -> None:
    (module_on_path / "broken_settings.py").write_text("import what_is_missing\n")
    conf = Settings()
    conf.config_from_object("broken_settings")

    with pytest.raises(ConfigurationError, match="what_is_missing"):
        conf.resolve()


def test_a_later_object_replaces_the_earlier_one() -> None:
    conf = Settings()
    conf.config_from_object({"worker_concurrency": 1})
    assert conf.worker_concurrency == 1

    conf.config_from_object({"task_serializer": "yaml"})

    assert (conf.worker_concurrency, conf.task_serializer) == (None, "yaml")


def test_an_upper_case_namespace_reads_upper_case_names_only() -> None:
    conf = Settings()

    conf.config_from_object({"CELERY_TASK_SERIALIZER": "yaml", "DEBUG": True, "task_track_started": 1}, "CELERY")

    assert conf.task_serializer == "yaml"


def test_a_lower_case_namespace_reads_lower_case_names() -> None:
    conf = Settings()

    conf.config_from_object({"celery_task_serializer": "yaml"}, namespace="celery")

    assert conf.task_serializer == "yaml"


def test_a_misspelling_within_the_namespace_is_refused_as_it_is_written() -> None:
    conf = Settings()
    conf.config_from_object({"CELERY_TASK_SERIALISER": "yaml"}, namespace="CELERY")

    with pytest.raises(UnknownSetting, match=r"CELERY_TASK_SERIALISER.*'task_serializer'"):
        conf.resolve()


def test_a_module_may_hold_imports_functions_and_constants_besides_settings() -> None:
    module = ModuleType("mixed")
    vars(module).update(os=os, timedelta=timedelta, helper=lambda: 1, LIMIT=5, _hidden=1, worker_concurrency=2)
    conf = Settings()

    conf.config_from_object(module)

    assert conf.worker_concurrency == 2


def test_a_function_under_the_name_of_a_setting_is_that_setting() -> None:
    def route(name: str) -> None: ...

    module = ModuleType("routing")
    module.task_routes = route
    conf = Settings()

    conf.config_from_object(module)

    assert conf.task_routes is route


def test_a_lower_case_name_of_a_module_that_is_no_setting_is_refused() -> None:
    module = ModuleType("typo")
    module.task_serialiser = "json"
    conf = Settings()
    conf.config_from_object(module)

    with pytest.raises(UnknownSetting, match=r"'task_serialiser' \(in typo\).*'task_serializer'"):
        conf.resolve()


def test_everything_that_is_wrong_is_said_at_once_and_again_at_the_next_read() -> None:
    conf = Settings(environ={"CELERIAC_WORKER_CONCURRENCY": "many"})
    conf.config_from_object({"task_serialiser": "json", "task_time_limit": "soon"})

    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            _ = conf.task_queues
        text = str(caught.value)
        assert "3 settings are wrong" in text
        assert all(word in text for word in ("task_serialiser", "task_time_limit", "CELERIAC_WORKER_CONCURRENCY"))


def test_an_update_with_one_wrong_value_changes_nothing() -> None:
    conf = Settings()

    with pytest.raises(InvalidSetting, match="worker_concurrency"):
        conf.update(task_serializer="yaml", worker_concurrency=0)

    assert (conf.task_serializer, conf.worker_concurrency) == ("json", None)


def test_a_wrong_keyword_is_refused_at_once() -> None:
    with pytest.raises(InvalidSetting, match=r"in a keyword.*must be true or false; got 'yes'"):
        Settings(keywords={"task_acks_late": "yes"})


def test_an_attribute_nobody_declared_is_no_attribute() -> None:
    conf = Settings()

    assert not hasattr(conf, "task_serialiser")
    assert not hasattr(conf, "_private")
    assert conf.get("task_serialiser", 1) == 1
    assert "task_serialiser" not in conf
    with pytest.raises(UnknownSetting, match="'task_serializer'"):
        conf.task_serialiser = "json"


def test_get_does_not_hide_what_is_wrong_elsewhere() -> None:
    conf = Settings()
    conf.config_from_object({"task_serialiser": "json"})

    with pytest.raises(UnknownSetting, match="task_serialiser"):
        conf.get("nothing", 1)


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings(environ={"CELERIAC_BROKER_URL": ""}).broker_url is None


def test_a_dictionary_changed_in_place_keeps_the_change_and_leaves_the_default_alone() -> None:
    conf = Settings()

    conf.task_publish_retry_policy["max_retries"] = 9
    conf.config_from_object({"worker_concurrency": 2})

    assert conf.task_publish_retry_policy["max_retries"] == 9
    assert Settings().task_publish_retry_policy["max_retries"] == 3


def test_a_given_dictionary_is_copied() -> None:
    given = {"max_retries": 1}
    conf = Settings(keywords={"task_publish_retry_policy": given})

    given["max_retries"] = 2

    assert conf.task_publish_retry_policy == {"max_retries": 1}


def test_a_soft_limit_beyond_the_hard_one_is_refused() -> None:
    conf = Settings(keywords={"task_time_limit": 10, "task_soft_time_limit": 10})

    with pytest.raises(ConfigurationError, match="must be below"):
        conf.resolve()


def test_a_change_that_contradicts_another_setting_changes_nothing() -> None:
    conf = Settings(keywords={"task_time_limit": 10})
    conf.resolve()

    with pytest.raises(ConfigurationError, match="must be below"):
        conf.task_soft_time_limit = 11
    assert conf.task_soft_time_limit is None

    conf.update(task_soft_time_limit=11, task_time_limit=12)
    assert conf.task_soft_time_limit == 11


def test_plugins_are_asked_only_when_a_name_is_not_of_the_core() -> None:
    asked: list[str] = []

    def discover(conf: Settings) -> list[Setting]:
        asked.append(conf.task_serializer)
        return [plugin_setting()]

    conf = Settings(environ={"CELERIAC_RED_LIMIT": "8"}, discover=discover)
    assert (conf.task_serializer, asked) == ("json", [])

    assert conf.red_limit == 8
    assert (conf["red_limit"], "red_limit" in conf, asked) == (8, True, ["json"])


def test_what_a_keyword_says_about_a_plugin_is_checked_when_the_plugin_is_known() -> None:
    conf = Settings(keywords={"red_limit": "x"}, discover=lambda _: [plugin_setting()])

    for _ in range(2):
        with pytest.raises(InvalidSetting, match="red_limit"):
            conf.resolve()


def test_a_name_that_no_plugin_declares_either_is_refused_with_the_nearest() -> None:
    conf = Settings(keywords={"red_limitt": 1}, discover=lambda _: [plugin_setting()])

    with pytest.raises(UnknownSetting, match="'red_limit'"):
        conf.resolve()


def test_a_failed_discovery_is_tried_again() -> None:
    answers = [ConfigurationError("not yet"), None]

    def discover(conf: Settings) -> list[Setting]:
        if (error := answers.pop(0)) is not None:
            raise error
        return [plugin_setting()]

    conf = Settings(discover=discover)
    with pytest.raises(ConfigurationError, match="not yet"):
        _ = conf.red_limit

    assert conf.red_limit == 7


def test_two_plugins_that_declare_one_name_differently_are_refused() -> None:
    conf = Settings()
    conf.declare([plugin_setting()])
    conf.declare([plugin_setting()])

    with pytest.raises(ConfigurationError, match="declared twice"):
        conf.declare([plugin_setting(default=8)])


def test_a_plugin_setting_can_be_set_after_the_first_read() -> None:
    conf = Settings(discover=lambda _: [plugin_setting()])
    conf.resolve()

    conf.red_limit = 9

    assert conf.red_limit == 9


def test_the_table_masks_passwords_and_secrets_unless_told_otherwise() -> None:
    conf = Settings(keywords={"broker_url": "redis://me:geheim@host/0"})
    conf.declare([plugin_setting(name="red_key", type=str, default="geheim", secret=True)])

    assert "geheim" not in str(conf.table())
    assert conf.table(censored=False)["broker_url"] == "redis://me:geheim@host/0"
    assert len(conf.table()) == len(conf)


def test_a_secret_of_the_wrong_type_is_not_shown_by_the_error() -> None:
    conf = Settings(environ={"CELERIAC_RED_KEY": "geheim"})

    conf.declare([plugin_setting(name="red_key", default=1, secret=True)])
    with pytest.raises(InvalidSetting) as caught:
        conf.resolve()

    assert "geheim" not in str(caught.value)


def test_threads_that_read_first_at_the_same_time_get_the_same() -> None:
    conf = Settings(environ={"CELERIAC_WORKER_CONCURRENCY": "3"})
    seen: list[int | None] = []
    threads = [threading.Thread(target=lambda: seen.append(conf.worker_concurrency)) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert seen == [3] * 8


def test_the_revision_grows_with_each_change_and_not_with_reads() -> None:
    conf = Settings()
    conf.resolve()
    seen = [conf.revision]

    _ = conf.task_serializer, conf["task_queues"], conf.explain("task_routes")
    assert conf.revision == seen[0]

    conf.task_serializer = "yaml"
    seen.append(conf.revision)
    conf.config_from_object({})
    seen.append(conf.revision)
    assert seen == sorted(set(seen))


def test_the_repr_says_where_settings_come_from_and_no_value() -> None:
    conf = Settings(keywords={"broker_url": "redis://me:geheim@host/0"})
    conf.config_from_object("proj.config")

    assert repr(conf) == "<Settings from 'proj.config': 1 given>"


def test_what_another_process_must_be_told_to_have_the_same_settings(monkeypatch):
    settings = Settings(keywords={"worker_concurrency": 3})
    settings.config_from_object("json.decoder", namespace="CELERY")

    settings.override({"worker_concurrency": "5"})

    assert settings.object_path == ("json.decoder", "CELERY")
    assert settings.overrides == {"worker_concurrency": 5}
    settings.config_from_object({"worker_concurrency": 2})
    assert settings.object_path is None
