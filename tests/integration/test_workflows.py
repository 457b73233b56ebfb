"""Workers carry out random workflows as a small interpreter says, and so does eager mode."""

from __future__ import annotations

from collections import Counter

import pytest
from broken import NO_SHRINKING
from hypothesis import HealthCheck, given, settings
from running import eventually, running
from workflows import Failed, Interpreter, build, define, recipes

from celeriac import Celeriac
from celeriac.errors import ChordError
from celeriac.testing.app import fresh_url

SECONDS = 5
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)


class Site:
    """An app with a worker, and how often each task ran."""

    def __init__(self, url, **conf):
        self.runs = Counter()
        self.app = Celeriac("workflows", broker=url, set_as_current=False)
        self.app.conf.update(conf)
        define(self.app, self.runs)

    def quiet(self):
        transport = self.app.connections.transport()
        return not any(depth.waiting + depth.delayed + depth.held for depth in transport.depths(timeout=10))


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def site(request, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('q')}/q.db" if request.param == "sqlite" else None
    with fresh_url() as memory:
        site = Site(url or memory)
        with running(site.app, pool="threads", concurrency=4):
            yield site


def expected(recipe):
    """Return what the interpreter says: (value, None) or (None, failure), and the runs."""
    interpreter = Interpreter()
    try:
        return interpreter.value(recipe), None, interpreter.runs
    except Failed as failed:
        return None, failed, interpreter.runs


def check(result, recipe):
    value, failure, _ = expected(recipe)
    if failure is None:
        assert result.get(timeout=SECONDS) == value
        return
    with pytest.raises((ValueError, ChordError)) as raised:
        result.get(timeout=SECONDS)
    error = raised.value
    assert (None if isinstance(error, ChordError) else error.args[0]) in failure.errors


@pytest.mark.timeout(240)
@given(recipe=recipes())
@MANY
def test_a_worker_does_what_the_interpreter_says(site, recipe):
    site.runs.clear()

    result = build(site.app, recipe).apply_async()

    check(result, recipe)
    *_, runs = expected(recipe)
    eventually(site.quiet, "nothing is left to do")
    assert site.runs == runs


@pytest.mark.timeout(120)
@given(recipe=recipes())
@settings(MANY, max_examples=400)
def test_eager_mode_does_what_the_interpreter_says(recipe):
    site = Site("memory://eager", task_always_eager=True)

    result = build(site.app, recipe).apply_async()

    check(result, recipe)
    *_, runs = expected(recipe)
    assert site.runs == runs
