"""The boot steps shown in the documentation: one of a user, one of a third party's distribution."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import running

from celeriac import Celeriac
from celeriac.kernel import plugins
from celeriac.kernel.boot import start
from celeriac.kernel.drawing import draw
from celeriac.kernel.graph import Graph
from celeriac.kernel.hooks import activate
from celeriac.kernel.steps import Key
from celeriac.runtime.keys import APP, CONSUMER, WORKER

DOCS = Path(__file__).parent.parent.parent / "docs"
HELLO = DOCS / "examples" / "celeriac_hello"

GIVEN: dict[Key[Any], Any] = {
    APP: SimpleNamespace(conf={"hello_greeting": "Hello"}),
    CONSUMER: object(),
    WORKER: SimpleNamespace(hostname="celeriac@here"),
}


@pytest.fixture
def bootstep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Put the user's modules on the path, and work in an empty folder."""
    monkeypatch.syspath_prepend(str(DOCS / "examples" / "bootstep"))
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("ready_file", "shop"):
        sys.modules.pop(name, None)


@pytest.fixture
def hello(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Install the distribution as an editable install does: its sources on the path, its metadata beside them."""
    project = tomllib.loads((HELLO / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "celeriac_hello-1.0.0.dist-info"
    metadata.mkdir()
    header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(header)
    sections = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(sections))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(HELLO / "src"))
    plugins.clear_cache()
    yield
    plugins.clear_cache()
    for name in [name for name in sys.modules if name.startswith("celeriac_hello")]:
        del sys.modules[name]


@pytest.mark.usefixtures("bootstep")
def test_the_users_step_keeps_its_file_while_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ready_file import READY_FILE, ReadyFile  # type: ignore[import-not-found]  # noqa: PLC0415  of the example

    monkeypatch.setenv("READY_FILE", str(tmp_path / "ready"))
    running = start(Graph([ReadyFile], given=GIVEN), GIVEN, timeout=5.0)
    path = running.get(READY_FILE)
    while_running = path.read_text()
    running.stop(timeout=5.0)

    assert while_running == "celeriac@here"
    assert not path.exists()


@pytest.mark.usefixtures("bootstep")
def test_the_file_is_there_while_a_worker_of_the_shop_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    monkeypatch.setenv("READY_FILE", str(path))
    shop = importlib.import_module("shop")

    with shop.app, running(shop.app, hostname="shop@here"):
        while_running = path.read_text()
        result = shop.add.delay(2, 3).get(timeout=10)

    assert (while_running, result) == ("shop@here", 5)
    assert not path.exists()


@pytest.mark.usefixtures("bootstep")
def test_the_graph_of_a_worker_lists_the_step(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "celeriac", "-A", "shop", "graph", "worker"]
    environment = {**os.environ, "PYTHONPATH": str(DOCS / "examples" / "bootstep")}

    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path)

    assert re.search(r"^.*ready-file +needs .*worker.* provides ready-file", ended.stdout, re.MULTILINE)


@pytest.mark.usefixtures("bootstep")
def test_the_page_on_boot_steps_runs_as_written() -> None:
    page = (DOCS / "how-to" / "custom-bootstep.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)

    for snippet in snippets:
        exec(compile(snippet, "custom-bootstep.md", "exec"), {})

    assert len(snippets) == 1


@pytest.mark.usefixtures("hello")
def test_the_distribution_is_found_and_not_active_until_it_is_named() -> None:
    found = plugins.info("hooks", "hello")

    assert (found.distribution, found.version, found.error) == ("celeriac-hello", "1.0.0", None)
    assert "hello" not in activate().names
    assert activate(named=["hello"]).names == ("hello",)


@pytest.mark.usefixtures("hello")
def test_the_distributions_step_greets_and_says_goodbye(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hooks = activate(named=["hello"])
    graph = Graph(hooks.steps(app=None, blueprint="worker"), given=GIVEN)

    start(graph, GIVEN, timeout=5.0).stop(timeout=5.0)

    assert caplog.messages == ["Hello from celeriac@here", "Goodbye from celeriac@here"]
    assert hooks.steps(app=None, blueprint="consumer") == []
    assert [setting.name for setting in hooks.settings()] == ["hello_greeting"]
    assert "hello.greeting  needs app, consumer, worker  (celeriac_hello.greeting.Greeting)" in draw(graph)


@pytest.mark.usefixtures("hello")
def test_a_worker_that_names_the_distribution_greets_and_says_goodbye(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with (
        Celeriac("greeting", broker="memory://hello", set_as_current=False, plugins=("hello",)) as app,
        running(app, hostname="hello@here"),
    ):
        assert "Hello from hello@here" in caplog.messages

    assert "Goodbye from hello@here" in caplog.messages


@pytest.mark.usefixtures("hello")
def test_the_distributions_own_tests_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HELLO / "src"))

    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            str(HELLO / "pyproject.toml"),
            str(HELLO / "tests"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
