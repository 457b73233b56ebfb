"""The hub of gevent and its pool, in a process that is not patched; that runs are in the contract suite."""

from __future__ import annotations

import pytest
from green_hub import HubTests, PoolTests, imported_by

from celeriac_gevent.hub import GeventHub
from celeriac_gevent.patches import is_patched
from celeriac_gevent.pool import GeventPool


class Content(GeventHub):
    """A hub that does not ask for the patch."""

    def unpatched(self) -> list[str]:
        return []


class ContentPool(GeventPool):
    hub_class = Content


class TestGeventHub(HubTests):
    @pytest.fixture
    def hub(self):
        return GeventHub()

    def test_it_names_what_is_not_patched(self, hub):
        assert {"socket", "time"} <= set(hub.unpatched())
        assert not is_patched()


class TestGeventPool(PoolTests):
    @pytest.fixture(name="name")
    def _name(self):
        return "gevent"

    @pytest.fixture
    def pool_class(self):
        return ContentPool


@pytest.mark.parametrize("module", ["plugin", "patches", "testing", "hooks"])
def test_whatever_is_asked_before_the_pool_is_chosen_imports_no_gevent(module):
    assert not imported_by(f"import celeriac_gevent.{module}", "gevent")
