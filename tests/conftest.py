"""What every folder of tests shares: servers that may be absent, and a count of what was skipped."""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import servers

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent

# pytester forgets every module that a run of its own imported first. What the package hands out lazily must be there
# before, or a later test meets a second copy of it. (The tests of installing run where it is not installed.)
with suppress(ImportError):
    celeriac = importlib.import_module("celeriac")
    for _name in celeriac.__all__:
        getattr(celeriac, _name)


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, str]]:
    """Hold the URL of each server that a test asked for, and the servers that were started for them."""
    with ExitStack() as stack:
        yield _Running(stack)


class _Running(dict[str, str]):
    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.declared = servers.declared(ROOT)

    def __missing__(self, name: str) -> str:
        if name not in self.declared:
            raise pytest.UsageError(f"no bundle describes a server {name!r} in its [tool.celeriac.servers]")
        self[name] = self.stack.enter_context(servers.running(self.declared[name]))
        return self[name]


@pytest.fixture
def server_url(request: pytest.FixtureRequest, _servers: dict[str, str]) -> str:
    """Give the URL of the server named by the test's marker `server("name")`.

    Without one the test is skipped with the reason; where CI is set it fails.
    """
    marker = request.node.get_closest_marker("server")
    try:
        return _servers[marker.args[0]]
    except servers.ServerMissing as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _own_shared_tasks() -> Iterator[None]:
    """Forget the tasks that a test shared with every app to come."""
    state = sys.modules.get("celeriac.client.state")
    before = list(state.shared) if state is not None else []
    yield
    state = sys.modules.get("celeriac.client.state")
    if state is not None:
        state.shared[:] = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("server") and "server_url" not in item.fixturenames:
            item.fixturenames.append("server_url")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count skipped tests by reason, so that what did not run is seen at the end."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.section("skipped, by reason")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5} {reason}")
