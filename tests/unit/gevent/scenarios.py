"""The hub of gevent and its pool, not patched; run by test_gevent_pool.py in one of its own."""

from __future__ import annotations

import pytest
from green_hub import HubTests, PoolTests

from celeriac_gevent.hub import GeventHub
from celeriac_gevent.pool import GeventPool


class ContentPool(GeventPool):
    """A pool that does not ask for the patch."""

    def unpatched(self) -> list[str]:
        return []


class TestGeventHub(HubTests):
    @pytest.fixture
    def hub(self):
        return GeventHub()


class TestGeventPool(PoolTests):
    @pytest.fixture
    def pool_class(self):
        return ContentPool
