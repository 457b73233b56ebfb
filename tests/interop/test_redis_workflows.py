"""On one Redis, a chain goes from a worker of one side to one of the other, whoever sent it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery_side import celery, define, leave_logging, setup_logging, start_worker
from running import running

from celeriac import chain
from celeriac.testing.app import make_app

pytest.importorskip("celeriac_redis")
pytestmark = [
    pytest.mark.server("redis"),
    pytest.mark.timeout(120),
    # Of the other side's own calls of its driver.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SECONDS = 30
THEIRS, OURS = "celery", "of-ours"
CHAINS = {"ours": chain, "theirs": celery.chain}


@pytest.fixture
def apps(server_url: str) -> Iterator[dict[str, Any]]:
    """Give both apps on a database of their own, each with a worker on the queue named after it."""
    url = f"{server_url.rsplit('/', 1)[0]}/14"
    with ExitStack() as stack:
        ours = stack.enter_context(make_app({"broker_url": url, "result_backend": url}, {}))
        theirs = celery.Celery("theirs", broker=url, backend=url, set_as_current=False)
        theirs.conf.update(worker_redirect_stdouts=False, worker_prefetch_multiplier=1)
        for app in (ours, theirs):
            define(app)
            app.finalize()
        with theirs.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        setup_logging.connect(leave_logging)
        stack.callback(setup_logging.disconnect, leave_logging)
        stack.callback(theirs.close)
        stack.enter_context(start_worker(theirs, perform_ping_check=False, pool="solo", shutdown_timeout=20))
        stack.enter_context(running(ours, pool="threads", concurrency=2, queues=[OURS]))
        yield {"ours": ours, "theirs": theirs}


@pytest.mark.parametrize("client", ["ours", "theirs"])
@pytest.mark.parametrize("queues", [(THEIRS, OURS, THEIRS), (OURS, THEIRS, OURS)], ids=str)
def test_a_chain_goes_from_side_to_side(apps, client, queues):
    add = apps[client].tasks["proj.add"]
    first, *later = queues

    result = CHAINS[client](add.s(1, 2).set(queue=first), *[add.s(10).set(queue=each) for each in later]).apply_async()

    assert result.get(timeout=SECONDS) == 23
    assert result.parent.get(timeout=SECONDS) == 13


@pytest.mark.parametrize("client", ["ours", "theirs"])
@pytest.mark.parametrize(("fails", "never"), [(THEIRS, OURS), (OURS, THEIRS)])
def test_a_step_that_fails_on_one_side_ends_the_chain_for_the_other(apps, client, fails, never):
    tasks = apps[client].tasks
    steps = [tasks["proj.fail"].s("ValueError", "no").set(queue=fails), tasks["proj.add"].s(1).set(queue=never)]

    result = CHAINS[client](*steps).apply_async()

    with pytest.raises(ValueError, match="no"):
        result.get(timeout=SECONDS)


@pytest.mark.parametrize("client", ["ours", "theirs"])
@pytest.mark.parametrize("queue", [THEIRS, OURS])
def test_a_callback_runs_on_the_side_it_is_sent_to(apps, client, queue):
    add = apps[client].tasks["proj.add"]
    callback = add.s(10).set(queue=OURS if queue == THEIRS else THEIRS)
    followed = callback.freeze()

    add.apply_async((1, 2), queue=queue, link=callback)

    assert followed.get(timeout=SECONDS) == 13
