"""The fixtures that users of Celeriac have in their tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import celeriac
from celeriac import Celeriac, events
from celeriac.errors import ConfigurationError
from celeriac.kernel.steps import Boot, Step
from celeriac.testing.app import make_app
from celeriac.testing.worker import ThreadedWorker, start_worker

pytestmark = pytest.mark.plugins

PATIENCE = 10

pytestmark = pytest.mark.plugins


def test_a_task_defined_in_a_test_runs_on_a_real_worker(
    celeriac_app: Celeriac, celeriac_worker: ThreadedWorker
) -> None:
    @celeriac_app.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add.delay(2, 3).get(timeout=PATIENCE) == 5


def test_tasks_defined_one_after_the_other_are_all_known(
    celeriac_app: Celeriac, celeriac_worker: ThreadedWorker
) -> None:
    @celeriac_app.task
    def first() -> str:
        return "first"

    assert first.delay().get(timeout=PATIENCE) == "first"

    @celeriac_app.task
    def second() -> str:
        return "second"

    assert second.delay().get(timeout=PATIENCE) == "second"
    assert first.delay().get(timeout=PATIENCE) == "first"


def test_a_task_may_call_another(celeriac_app: Celeriac, celeriac_worker: ThreadedWorker) -> None:
    @celeriac_app.task
    def outer() -> str:
        return inner.delay().id

    @celeriac_app.task
    def inner() -> str:
        return "inner"

    inner_id = outer.delay().get(timeout=PATIENCE)

    assert celeriac_app.AsyncResult(inner_id).get(timeout=PATIENCE) == "inner"


def test_reload_makes_new_tasks_known(celeriac_app: Celeriac, celeriac_worker: ThreadedWorker) -> None:
    @celeriac_app.task(name="late")
    def late() -> int:
        return 1

    before = celeriac_worker.worker
    celeriac_worker.reload()

    assert celeriac_worker.worker is not before
    assert celeriac_app.send_task("late").get(timeout=PATIENCE) == 1


def test_a_worker_that_was_stopped_leaves_no_thread_and_listens_to_no_event(celeriac_app: Celeriac) -> None:
    threads, receivers = threading.active_count(), events.before_task_publish.receivers

    with start_worker(celeriac_app) as worker:
        worker.reload()

    assert threading.active_count() == threads
    assert events.before_task_publish.receivers == receivers


def test_a_worker_that_is_not_started_has_none_to_show(celeriac_app: Celeriac) -> None:
    worker = ThreadedWorker(celeriac_app)

    worker.stop()

    with pytest.raises(RuntimeError, match="not started"):
        worker.worker  # noqa: B018  reading it is what fails


def test_what_a_step_raises_at_the_boot_is_raised_by_the_start(celeriac_app: Celeriac) -> None:
    class Breaks(Step):
        name = "breaks"

        def start(self, boot: Boot) -> None:
            raise ZeroDivisionError("a broken step")

    celeriac_app.steps["worker"].add(Breaks)

    with pytest.raises(ZeroDivisionError, match="a broken step"), start_worker(celeriac_app):
        pass


def test_threads_that_call_new_tasks_at_once_restart_the_worker_one_after_the_other(
    celeriac_app: Celeriac, celeriac_worker: ThreadedWorker
) -> None:
    tasks = [celeriac_app.task(name=f"task-{number}")(lambda number=number: number) for number in range(8)]

    with ThreadPoolExecutor(len(tasks)) as threads:
        results = list(threads.map(lambda task: task.delay(), tasks))

    assert [result.get(timeout=PATIENCE) for result in results] == list(range(8))


def test_the_app_is_the_current_one(celeriac_app: Celeriac) -> None:
    assert celeriac.get_current_app() is celeriac_app


@pytest.mark.celeriac(task_always_eager=True, task_default_queue="marked")
class TestMarked:
    def test_the_marker_gives_settings(self, celeriac_app: Celeriac) -> None:
        assert celeriac_app.conf.task_always_eager
        assert celeriac_app.conf.task_default_queue == "marked"

    @pytest.mark.celeriac(task_default_queue="nearer")
    def test_the_nearest_marker_wins(self, celeriac_app: Celeriac) -> None:
        assert celeriac_app.conf.task_always_eager
        assert celeriac_app.conf.task_default_queue == "nearer"


def test_after_the_tests_the_app_that_was_current_before_is_so_again(celeriac_app: Celeriac) -> None:
    with make_app({}, {}) as app:
        inside = celeriac.get_current_app()

    assert inside is app
    assert celeriac.get_current_app() is celeriac_app


def test_after_the_only_app_there_is_none() -> None:
    code = make_app.__module__
    program = (
        f"from {code} import make_app\nimport celeriac\nwith make_app({{}}, {{}}): pass\nceleriac.get_current_app()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)

    assert ConfigurationError.__name__ in run.stderr


def test_the_plugin_costs_other_test_runs_next_to_nothing() -> None:
    program = "import sys, pytest; before = set(sys.modules); import celeriac.testing.pytest_plugin\n"
    program += "print(*sorted(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)

    assert run.stdout.split() == ["celeriac", "celeriac.testing", "celeriac.testing.pytest_plugin"]
