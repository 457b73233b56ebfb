"""Workers carry out random workflows as a small interpreter says, and so does eager mode."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack

import pytest
from broken import NO_SHRINKING
from hypothesis import HealthCheck, given, settings
from running import eventually, running
from workflow_tasks import build, define
from workflows import KINDS, UNSTARTED, Failed, Interpreter, recipes, seen

from celeriac import Celeriac
from celeriac.errors import ChordError, Reject, TaskRevokedError
from celeriac.testing.app import fresh_url

SECONDS = 10
EXAMPLES = int(os.environ.get("CELERIAC_WORKFLOWS", "100"))
MANY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)


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


@pytest.fixture(scope="module", params=["memory", "sqlite", "apart", "redis"])
def site(request, tmp_path_factory):
    with ExitStack() as stack:
        url = stack.enter_context(fresh_url())
        conf = {}
        if request.param == "redis":
            redis_servers = pytest.importorskip("redis_servers")
            if not redis_servers.installed():
                pytest.skip("there is no Redis server to start")
            url = stack.enter_context(redis_servers.redis_server()).url
            conf = {"result_backend": url}
        elif request.param != "memory":
            file = f"sqlite:///{tmp_path_factory.mktemp('q')}/q.db"
            url, conf = (url, {"result_backend": file}) if request.param == "apart" else (file, {})
        site = Site(url, **conf)
        stack.callback(site.app.close)
        stack.enter_context(running(site.app, pool="threads", concurrency=4))
        yield site


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
    site = Site("memory://eager", task_always_eager=True)

    result = build(site.app, recipe).apply_async()

    check(result, recipe)
    *_, runs = expected(recipe)
    assert site.runs == runs
