"""A directory with an app in it, and the command line run in this process."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from celeriac import events
from celeriac.cli.main import celeriac

APP = """
from celeriac.client.app import Celeriac

app = Celeriac({name!r}, set_as_current=False, task_default_queue="work")


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("broken on purpose")


@app.task
def say(text):
    print(text)


@app.task
def halt():
    pass  # the fixture `worked` stops the worker after it
"""

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CELERIAC_APP", "CELERIAC_CONFIG_MODULE", "CELERIAC_TRACEBACK", "CELERIAC_NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run `celeriac` with these arguments."""

    def run(*arguments: str, input: str | None = None, env: dict[str, str] | None = None) -> Result:  # noqa: A002  as CliRunner names it
        return CliRunner().invoke(celeriac, list(arguments), input=input, env=env)

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, from which modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def proj(folder: Path) -> str:
    """The name of a module with an app, on the embedded broker."""
    pytest.importorskip("celeriac_sqlite", reason="the embedded broker is not installed")
    pytest.importorskip("celeriac_json", reason="the JSON serializer is not installed")
    name = f"proj{next(_numbers)}"
    (folder / f"{name}.py").write_text(APP.format(name=name))
    return name


@pytest.fixture
def worked(run: Callable[..., Result], proj: str) -> Callable[..., Result]:
    """Run a worker with these arguments until it has done what was sent before."""
    pytest.importorskip("celeriac_solo", reason="the solo pool is not installed")

    def worked(*arguments: str, env: dict[str, str] | None = None, level: str = "CRITICAL") -> Result:
        sent = run("-A", proj, "call", f"{proj}.halt")
        assert sent.exit_code == 0, sent.stderr
        workers: list[Any] = []

        def remember(sender: Any, **_: Any) -> None:
            workers.append(sender)

        def stop(sender: Any, task: Any, **_: Any) -> None:
            if task.name.endswith(".halt"):
                workers[0].stop()

        events.worker_init.connect(remember)
        events.task_postrun.connect(stop)
        try:
            return run("-A", proj, "worker", "-P", "solo", "-l", level, *arguments, env=env)
        finally:
            events.worker_init.disconnect(remember)
            events.task_postrun.disconnect(stop)

    return worked
