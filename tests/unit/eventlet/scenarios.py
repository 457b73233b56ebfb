"""The hub of eventlet and its pool, not patched; run by test_eventlet_pool.py in one of its own."""

from __future__ import annotations

import pytest
from green_hub import HubTests, PoolTests

from celeriac_eventlet.hub import EventletHub
from celeriac_eventlet.pool import EventletPool


class ContentPool(EventletPool):
    """A pool that does not ask for the patch."""

    def unpatched(self) -> list[str]:
        return []


class TestEventletHub(HubTests):
    @pytest.fixture
    def hub(self):
        return EventletHub()


class TestEventletPool(PoolTests):
    @pytest.fixture
    def pool_class(self):
        return ContentPool
