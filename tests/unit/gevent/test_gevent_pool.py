"""The pool of greenlets of gevent. What imports gevent does so in a process of its own: it changes the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from green_hub import imported_by, passes

from celeriac.errors import ConfigurationError
from celeriac.spi.pool import PoolContext
from celeriac_gevent.patches import is_patched, unpatched
from celeriac_gevent.pool import GeventPool


@pytest.mark.timeout(120)
def test_hub_and_pool_do_what_they_should_in_a_process_of_their_own():
    passes(Path(__file__).with_name("scenarios.py"))


def test_a_process_that_is_not_patched_is_told_how_to_be():
    context = PoolContext(execute=print, failed=print, report=print, started=print)

    with pytest.raises(ConfigurationError, match=r"-P gevent.*CELERIAC_WORKER_POOL=gevent.*celeriac_gevent\.patches"):
        GeventPool(1, context)

    assert not is_patched()
    assert {"socket", "time"} <= set(unpatched())


@pytest.mark.parametrize("module", ["plugin", "patches", "testing", "hooks"])
def test_whatever_is_asked_before_the_pool_is_chosen_imports_no_gevent(module):
    assert not imported_by(f"import celeriac_gevent.{module}", "gevent")
