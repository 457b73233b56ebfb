from __future__ import annotations

import uuid

import pytest

from celeriac import Celeriac


@pytest.fixture(params=["memory", "sqlite"])
def broker(request, tmp_path):
    """The URL of an empty embedded broker, which is its result store and coordinator too."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"sqlite:///{tmp_path / 'queue.db'}"


@pytest.fixture
def app(broker):
    with Celeriac("proj", broker=broker, backend=broker, set_as_current=False) as app:
        yield app


@pytest.fixture
def transport(app):
    """The client's connection to the broker: what a test looks at queues and letters by."""
    return app.connections.transport()
