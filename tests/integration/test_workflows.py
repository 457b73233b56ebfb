"""Workers carry out random workflows as a small interpreter says, and so does eager mode."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from broken import NO_SHRINKING
from hypothesis import HealthCheck, given, settings
from running import eventually, running
from sites import PLACES, place
from workflow_tasks import build, define
from workflows import KINDS, UNSTARTED, Failed, Interpreter, recipes, seen

from celeriac import Celeriac
from celeriac.errors import ChordError, Reject, TaskRevokedError

SECONDS = 10
EXAMPLES = int(os.environ.get("CELERIAC_WORKFLOWS", "100"))
MANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)


class Site:
    """An app with a worker, and how often each task ran."""

    def __init__(self, **conf):
        self.runs = Counter()
        self.app = Celeriac("workflows", set_as_current=False)
        self.app.conf.update(conf)
        define(self.app, self.runs)

    def quiet(self):
        transport = self.app.connections.transport()
        return not any(depth.waiting + depth.delayed + depth.held for depth in transport.depths(timeout=10))


@pytest.fixture(scope="module", params=PLACES)
def site(request, tmp_path_factory):
    with place(request.param, tmp_path_factory.mktemp("workflows")) as conf:
        site = Site(**conf)
        with running(site.app, pool="threads", concurrency=4):
            yield site
        site.app.close()


def expected(recipe):
    """Return what the interpreter says: (value, None) or (None, failure), and the runs."""
    interpreter = Interpreter()
    try:
        return interpreter.run(recipe), None, interpreter.runs
    except Failed as failed:
        return None, failed, interpreter.runs


def check(result, recipe):
    value, failure, _ = expected(recipe)
    if failure is None:
        assert result.get(timeout=SECONDS) == value
        return
    with pytest.raises((ValueError, ChordError, Reject, TaskRevokedError)) as raised:
        result.get(timeout=SECONDS)
    assert seen(raised.value) in failure.errors


@pytest.mark.timeout(EXAMPLES * 2)
@given(recipe=recipes(among=(*KINDS, *UNSTARTED)))
@MANY
def test_a_worker_does_what_the_interpreter_says(site, recipe):
    site.runs.clear()

    result = build(site.app, recipe).apply_async()

    check(result, recipe)
    *_, runs = expected(recipe)
    eventually(site.quiet, "nothing is left to do")
    assert site.runs == runs


@pytest.mark.timeout(EXAMPLES * 2)
@given(recipe=recipes())
@settings(MANY, max_examples=EXAMPLES * 2)
def test_eager_mode_does_what_the_interpreter_says(recipe):
    site = Site(broker_url="memory://eager", task_always_eager=True)

    result = build(site.app, recipe).apply_async()

    check(result, recipe)
    *_, runs = expected(recipe)
    assert site.runs == runs
