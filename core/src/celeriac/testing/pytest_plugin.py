"""The fixtures that pytest finds on its own where Celeriac is installed.

Every run of pytest on such a machine imports this module: it imports nothing of Celeriac until a fixture is used.

The fixtures that return settings or parameters are there to be overridden, in a conftest.py, a module or a class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.testing.worker import ThreadedWorker

__all__ = [
    "celeriac_app",
    "celeriac_class_tasks",
    "celeriac_config",
    "celeriac_includes",
    "celeriac_parameters",
    "celeriac_session_app",
    "celeriac_session_worker",
    "celeriac_url",
    "celeriac_worker",
    "celeriac_worker_parameters",
    "celeriac_worker_pool",
]

# ruff: noqa: PLC0415  see above


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known to `--strict-markers`, and the asserts of the contract suites talkative."""
    config.addinivalue_line("markers", "celeriac(**settings): settings of the app that `celeriac_app` gives this test")
    pytest.register_assert_rewrite("celeriac.testing.contracts")


# -- to be overridden ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def celeriac_config() -> Mapping[str, Any]:
    """Return settings of the app."""
    return {}


@pytest.fixture(scope="session")
def celeriac_parameters() -> Mapping[str, Any]:
    """Return arguments of `Celeriac`, such as `task_cls` and `strict_typing`."""
    return {}


@pytest.fixture(scope="session")
def celeriac_includes() -> Sequence[str]:
    """Return modules of tasks that the worker imports."""
    return ()


@pytest.fixture(scope="session")
def celeriac_class_tasks() -> Sequence[Any]:
    """Return tasks made of classes, to be registered with the app."""
    return ()


@pytest.fixture(scope="session")
def celeriac_worker_pool() -> str:
    """Return the name of the worker's pool."""
    return "solo"


@pytest.fixture(scope="session")
def celeriac_worker_parameters() -> Mapping[str, Any]:
    """Return arguments of the worker, such as `queues`, `concurrency` and `shutdown_timeout`."""
    return {}


# -- one for each test -----------------------------------------------------------------------------


@pytest.fixture
def celeriac_url() -> Iterator[str]:
    """Give the URL of an empty broker and result store that are in memory, and this test's own."""
    from celeriac.testing.app import fresh_url

    with fresh_url() as url:
        yield url


@pytest.fixture
def celeriac_app(
    request: pytest.FixtureRequest,
    celeriac_url: str,
    celeriac_config: Mapping[str, Any],
    celeriac_parameters: Mapping[str, Any],
    celeriac_class_tasks: Sequence[Any],
) -> Iterator[Celeriac]:
    """Give an app on `celeriac_url`, the current one during this test; the marker `celeriac` gives it settings."""
    marked: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("celeriac"))):
        marked |= marker.kwargs
    yield from _app(celeriac_url, {**celeriac_config, **marked}, celeriac_parameters, celeriac_class_tasks)


@pytest.fixture
def celeriac_worker(
    celeriac_app: Celeriac,
    celeriac_includes: Sequence[str],
    celeriac_worker_pool: str,
    celeriac_worker_parameters: Mapping[str, Any],
) -> Iterator[ThreadedWorker]:
    """Run a worker of `celeriac_app` in a thread during this test."""
    yield from _worker(celeriac_app, celeriac_includes, celeriac_worker_pool, celeriac_worker_parameters)


# -- one for all tests -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def celeriac_session_app(
    celeriac_config: Mapping[str, Any], celeriac_parameters: Mapping[str, Any], celeriac_class_tasks: Sequence[Any]
) -> Iterator[Celeriac]:
    """Give an app for all tests that use it."""
    from celeriac.testing.app import fresh_url

    with fresh_url() as url:
        yield from _app(url, celeriac_config, celeriac_parameters, celeriac_class_tasks)


@pytest.fixture(scope="session")
def celeriac_session_worker(
    celeriac_session_app: Celeriac,
    celeriac_includes: Sequence[str],
    celeriac_worker_pool: str,
    celeriac_worker_parameters: Mapping[str, Any],
) -> Iterator[ThreadedWorker]:
    """Run a worker of `celeriac_session_app` in a thread for all tests that use it."""
    yield from _worker(celeriac_session_app, celeriac_includes, celeriac_worker_pool, celeriac_worker_parameters)


def _app(
    url: str, settings: Mapping[str, Any], parameters: Mapping[str, Any], class_tasks: Sequence[Any]
) -> Iterator[Celeriac]:
    from celeriac.testing.app import make_app

    addresses = {"broker_url": "broker", "result_backend": "backend"}
    fresh = {setting: url for setting, parameter in addresses.items() if parameter not in parameters}
    with make_app({**fresh, **settings}, parameters) as app:
        for task in class_tasks:
            app.register_task(task)
        yield app


def _worker(
    app: Celeriac, includes: Sequence[str], pool: str, parameters: Mapping[str, Any]
) -> Iterator[ThreadedWorker]:
    import importlib

    from celeriac.testing.worker import start_worker

    for module in includes:
        importlib.import_module(module)
    with start_worker(app, **{"pool": pool, **parameters}) as worker:
        yield worker
