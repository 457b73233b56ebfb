"""An app on a broker and result store in memory, and what a worker would do to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from celeriac.client import state
from celeriac.client.app import Celeriac
from celeriac.client.states import state_record
from celeriac.model.message import Message

Finish = Callable[..., None]


@pytest.fixture
def app(celeriac_app: Celeriac) -> Celeriac:
    return celeriac_app


@pytest.fixture
def published(app: Celeriac) -> Callable[[], list[Message]]:
    """Give a function that takes every message that waits."""

    def take() -> list[Message]:
        transport = app.connections.transport()
        names = [depth.queue for depth in transport.depths(timeout=1)]
        return [message for name in sorted(names) for message in transport.browse(name, limit=100, timeout=1)]

    return take


@pytest.fixture
def finish(app: Celeriac) -> Finish:
    """Give a function that stores a result, as the worker that ran the task would."""

    def store(task_id: str, value: Any = None, status: str = "SUCCESS") -> None:
        record = state_record(app, task_id, status, value, None)
        app.connections.results().put([record], timeout=1)

    return store


@pytest.fixture(autouse=True)
def _no_shared_tasks():
    """Take back what `shared_task` left for every app."""
    before = len(state.shared)
    yield
    del state.shared[before:]
