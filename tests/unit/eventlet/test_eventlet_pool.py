"""The hub of eventlet and its pool, in a process that is not patched; that runs are in the contract suite."""

from __future__ import annotations

import pytest
from green_hub import HubTests, PoolTests, imported_by

from celeriac_eventlet.hub import EventletHub
from celeriac_eventlet.patches import is_patched
from celeriac_eventlet.pool import EventletPool


class Content(EventletHub):
    """A hub that does not ask for the patch."""

    def unpatched(self) -> list[str]:
        return []


class ContentPool(EventletPool):
    hub_class = Content


class TestEventletHub(HubTests):
    @pytest.fixture
    def hub(self):
        return EventletHub()

    def test_it_names_what_is_not_patched(self, hub):
        assert {"socket", "time"} <= set(hub.unpatched())
        assert not is_patched()


class TestEventletPool(PoolTests):
    @pytest.fixture(name="name")
    def _name(self):
        return "eventlet"

    @pytest.fixture
    def pool_class(self):
        return ContentPool


@pytest.mark.parametrize("module", ["plugin", "patches", "testing", "hooks"])
def test_whatever_is_asked_before_the_pool_is_chosen_imports_no_eventlet(module):
    assert not imported_by(f"import celeriac_eventlet.{module}", "eventlet")
