"""The fixtures of the pytest plugin, in test runs of their own: overriding them, their scopes, their failures."""

from __future__ import annotations

import pytest


def inner_run(pytester: pytest.Pytester, conftest: str, tests: str, **outcomes: int) -> pytest.RunResult:
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    result = pytester.runpytest_inprocess("--strict-markers", "-p", "no:randomly", "-W", "error")
    result.assert_outcomes(**outcomes)
    return result


def test_every_test_has_an_app_and_a_broker_of_its_own(pytester: pytest.Pytester) -> None:
    inner_run(
        pytester,
        "",
        """
        seen = []

        def publish(app):
            assert app.conf.broker_url.startswith("memory://")
            assert app.conf.broker_url not in seen
            seen.append(app.conf.broker_url)
            app.send_task("nobody.runs.this")
            (depth,) = app.connections.transport().depths(["celery"], timeout=1)
            assert depth.waiting == 1

        def test_one(celeriac_app): publish(celeriac_app)
        def test_other(celeriac_app): publish(celeriac_app)
        """,
        passed=2,
    )


def test_settings_parameters_and_tasks_come_from_fixtures_that_can_be_overridden(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        included="import celeriac\n@celeriac.shared_task(name='shared')\ndef shared(): return 'shared'",
        classes="import celeriac\nclass Greet(celeriac.Task):\n    name = 'greet'\n    def run(self): return 'hello'",
    )
    inner_run(
        pytester,
        """
        import pytest
        import classes

        @pytest.fixture(scope="session")
        def celeriac_config(): return {"task_default_queue": "mine"}

        @pytest.fixture(scope="session")
        def celeriac_parameters(): return {"main": "shop"}

        @pytest.fixture(scope="session")
        def celeriac_includes(): return ["included"]

        @pytest.fixture(scope="session")
        def celeriac_class_tasks(): return [classes.Greet]

        @pytest.fixture(scope="session")
        def celeriac_worker_pool(): return "threads"

        @pytest.fixture(scope="session")
        def celeriac_worker_parameters(): return {"concurrency": 3, "hostname": "me@here"}
        """,
        """
        def test_all_of_them(celeriac_app, celeriac_worker):
            assert celeriac_app.main == "shop"
            assert celeriac_app.conf.task_default_queue == "mine"
            assert celeriac_app.send_task("shared").get(timeout=5) == "shared"
            assert celeriac_app.send_task("greet").get(timeout=5) == "hello"
            worker = celeriac_worker.worker
            assert (worker.hostname, worker.pool_name, worker.concurrency) == ("me@here", "threads", 3)
        """,
        passed=1,
    )


def test_one_session_worker_serves_all_tests(pytester: pytest.Pytester) -> None:
    inner_run(
        pytester,
        "",
        """
        import pytest
        import celeriac

        @pytest.fixture(scope="session")
        def add(celeriac_session_app):
            return celeriac_session_app.task(lambda x, y: x + y, name="add")

        def test_one(add, celeriac_session_worker):
            assert add.delay(1, 1).get(timeout=5) == 2

        def test_an_app_of_its_own_in_between(celeriac_session_app, celeriac_app):
            assert celeriac.get_current_app() is celeriac_app

        def test_other(add, celeriac_session_app, celeriac_session_worker):
            assert celeriac.get_current_app() is celeriac_session_app
            assert add.delay(2, 2).get(timeout=5) == 4
        """,
        passed=3,
    )


def test_the_environment_of_the_tests_does_not_lead_them_to_a_real_broker(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERIAC_BROKER_URL", "sqlite:///production.db")

    inner_run(
        pytester,
        "",
        """
        def test_broker(celeriac_app):
            assert celeriac_app.conf.broker_url.startswith("memory://")
            assert celeriac_app.connections.broker_address.scheme == "memory"
        """,
        passed=1,
    )


def test_a_worker_that_cannot_boot_fails_the_test_with_the_reason(pytester: pytest.Pytester) -> None:
    result = inner_run(
        pytester,
        "import pytest\n@pytest.fixture(scope='session')\ndef celeriac_worker_pool(): return 'thread'",
        "def test_worker(celeriac_worker): pass",
        errors=1,
    )

    result.stdout.fnmatch_lines(["*UnknownPlugin: No pool 'thread'. Did you mean 'threads'?*"])


def test_a_task_that_does_not_end_is_named_as_the_reason_why_the_worker_does_not(pytester: pytest.Pytester) -> None:
    result = inner_run(
        pytester,
        """
        import pytest

        @pytest.fixture(scope="session")
        def celeriac_worker_parameters(): return {"shutdown_timeout": 0.05}
        """,
        """
        import threading
        release = threading.Event()

        def test_worker(celeriac_app, celeriac_worker):
            started = threading.Event()

            @celeriac_app.task
            def hangs():
                started.set()
                release.wait(5)

            hangs.delay()
            assert started.wait(5)

        def test_end():
            release.set()
        """,
        passed=2,
        errors=1,
    )

    result.stdout.fnmatch_lines(["*WorkerStuck: * has not ended 0.05 s after it was told to: a task still runs.*"])
