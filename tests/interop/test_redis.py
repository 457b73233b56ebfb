"""On one Redis, clients and workers of both sides understand each other and share a queue."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery_side import celery, define, leave_logging, setup_logging, start_worker
from running import eventually, running

import celeriac
from celeriac import Celeriac
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
_databases = itertools.count(1)


class Shared:
    """One app of each side on the same database; each side defines the same tasks."""

    def __init__(self, url: str, ours: Celeriac) -> None:
        self.ours = ours
        self.theirs = celery.Celery("theirs", broker=url, backend=url, set_as_current=False)
        self.theirs.conf.update(worker_redirect_stdouts=False, worker_prefetch_multiplier=1, result_extended=True)
        for app in (self.ours, self.theirs):
            define(app)
            define_more(app)
            app.finalize()

    @contextmanager
    def our_worker(self) -> Iterator[None]:
        with running(self.ours, pool="threads", concurrency=2):
            yield

    @contextmanager
    def their_worker(self) -> Iterator[None]:
        setup_logging.connect(leave_logging)
        try:
            with start_worker(self.theirs, perform_ping_check=False, pool="solo", shutdown_timeout=20):
                yield
        finally:
            setup_logging.disconnect(leave_logging)


def define_more(app: Any) -> None:
    """Give an app the tasks that only these tests need."""

    @app.task(name="proj.double", shared=False)
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="proj.once_more", shared=False, bind=True, max_retries=3)
    def once_more(self: Any, wanted: int) -> int:
        if self.request.retries < wanted:
            raise self.retry(countdown=0)
        return self.request.retries

    @app.task(name="proj.starts_another", shared=False, bind=True)
    def starts_another(self: Any, x: int) -> str:
        return str(self.app.tasks["proj.double"].delay(x).id)


@pytest.fixture
def shared(server_url: str) -> Iterator[Shared]:
    """Give both apps on a database of the server that no other test of this module uses."""
    url = f"{server_url.rsplit('/', 1)[0]}/{next(_databases) % 16}"
    with make_app({"broker_url": url, "result_backend": url}, {}) as ours:
        sides = Shared(url, ours)
        with sides.theirs.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        try:
            yield sides
        finally:
            sides.theirs.close()


def both_ways() -> Any:
    return pytest.mark.parametrize("client", ["theirs", "ours"])


@pytest.fixture
def crossed(shared: Shared, client: str) -> Iterator[Any]:
    """Give the client of one side, while a worker of the other side runs."""
    worker = shared.our_worker if client == "theirs" else shared.their_worker
    with worker():
        yield getattr(shared, client)


@both_ways()
def test_a_result_comes_back(crossed):
    result = crossed.tasks["proj.add"].delay(2, 3)

    assert result.get(timeout=SECONDS) == 5
    assert result.state == "SUCCESS"


@both_ways()
def test_an_exception_comes_back_with_its_traceback(crossed):
    result = crossed.tasks["proj.fail"].delay("ValueError", "no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        result.get(timeout=SECONDS)
    assert result.state == "FAILURE"
    assert "ValueError: no such thing" in result.traceback


@both_ways()
@pytest.mark.parametrize(
    "option",
    [
        {"countdown": 1},
        {"eta": timedelta(seconds=1)},
        {"expires": 60},
        {"priority": 9},
        {"priority": 4},
        {"retries": 2},
        {"time_limit": 60, "soft_time_limit": 50},
        {"shadow": "other"},
        {"headers": {"mine": "header"}},
        {"compression": "gzip"},
    ],
    ids=str,
)
def test_every_calling_option_is_understood(crossed, option):
    if "eta" in option:
        option = {"eta": datetime.now(UTC) + option["eta"]}
    began = time.time()

    found = crossed.tasks["proj.describe"].apply_async((1,), **option)
    seen = found.get(timeout=SECONDS)

    assert seen["id"] == found.id
    assert seen["retries"] == option.get("retries", 0)
    assert seen["timelimit"] == [option.get("time_limit"), option.get("soft_time_limit")]
    assert seen["shadow"] == option.get("shadow")
    assert seen["mine"] == option.get("headers", {}).get("mine")
    if {"countdown", "eta"} & set(option):
        assert time.time() - began > 0.9


@both_ways()
def test_what_expired_is_revoked(shared, client):
    app = getattr(shared, client)
    result = app.tasks["proj.add"].apply_async((1, 1), expires=0.5)
    time.sleep(1)  # it is the moment itself that must have passed

    with shared.our_worker() if client == "theirs" else shared.their_worker():
        eventually(lambda: result.state == "REVOKED", "the task is revoked", SECONDS)


@both_ways()
def test_a_link_is_called_with_the_result(crossed):
    tasks = crossed.tasks
    after = tasks["proj.double"].s()
    after.freeze()

    tasks["proj.add"].apply_async((2, 3), link=after)

    assert crossed.AsyncResult(after.options["task_id"]).get(timeout=SECONDS) == 10


@both_ways()
def test_an_error_link_is_called_with_the_id(crossed):
    tasks = crossed.tasks
    after = tasks["proj.note"].s()
    after.freeze()

    failing = tasks["proj.fail"].apply_async(("KeyError", "k"), link_error=after)

    with pytest.raises(KeyError):
        failing.get(timeout=SECONDS)


@both_ways()
def test_a_task_that_retries_ends_with_its_result(crossed):
    result = crossed.tasks["proj.once_more"].delay(2)

    assert result.get(timeout=SECONDS) == 2


@both_ways()
def test_the_tasks_that_a_task_started_are_its_children(crossed):
    result = crossed.tasks["proj.starts_another"].delay(4)

    child = result.get(timeout=SECONDS)

    assert [each.id for each in result.children] == [child]
    assert result.children[0].get(timeout=SECONDS) == 8


@both_ways()
def test_a_result_that_is_ignored_is_not_stored(crossed):
    result = crossed.tasks["proj.add"].apply_async((1, 2), ignore_result=True)

    assert crossed.tasks["proj.add"].delay(1, 2).get(timeout=SECONDS) == 3
    assert result.state == "PENDING"


@both_ways()
def test_tasks_wait_until_a_worker_of_the_other_side_comes(shared, client):
    app = getattr(shared, client)
    results = [app.tasks["proj.add"].delay(n, n) for n in range(20)]

    with shared.our_worker() if client == "theirs" else shared.their_worker():
        assert [result.get(timeout=SECONDS) for result in results] == [2 * n for n in range(20)]


def test_priorities_of_their_client_are_served_in_their_order_where_that_is_set(shared):
    order = [0, 3, 6, 9, 0]
    results = [shared.theirs.tasks["proj.add"].apply_async((n, 0), priority=n) for n in order]

    shared.ours.conf.broker_transport_options = {"lowest_priority_first": True}
    transport = shared.ours.connections.transport()
    names = [message.headers["id"] for message in transport.browse("celery", limit=10, timeout=SECONDS)]

    by_kombu = sorted(range(len(order)), key=lambda n: order[n])
    assert names == [results[n].id for n in by_kombu]


def test_their_delayed_task_waits_in_the_broker_and_holds_no_slot(shared):
    with shared.our_worker():
        shared.theirs.tasks["proj.add"].apply_async((1, 1), countdown=600)
        transport = shared.ours.connections.transport()

        def delayed() -> bool:
            return any(
                depth.delayed == 1 and depth.held == 0 for depth in transport.depths(["celery"], timeout=SECONDS)
            )

        eventually(delayed, "the task is delayed in the broker", SECONDS)
        assert shared.theirs.tasks["proj.add"].delay(1, 1).get(timeout=SECONDS) == 2


def test_workers_of_both_sides_empty_one_queue_and_nothing_is_lost(shared):
    count = 600
    theirs = [shared.theirs.tasks["proj.add"].delay(n, 1) for n in range(count)]
    ours = shared.ours.publish_many([shared.ours.tasks["proj.add"].s(n, 1) for n in range(count)])

    with shared.their_worker(), shared.our_worker():
        mine = [result.get(timeout=60) for result in ours]
        others = [result.get(timeout=60) for result in theirs]

    assert mine == others == [n + 1 for n in range(count)]


# -- saved groups ----------------------------------------------------------------------------------


def test_a_saved_group_is_restored_by_the_other_side(shared):
    ours, theirs = shared.ours, shared.theirs
    with shared.our_worker():
        mine = celeriac.group(ours.tasks["proj.add"].s(1, n) for n in range(3)).apply_async().save()
        other = celery.group(theirs.tasks["proj.add"].s(2, n) for n in range(3)).apply_async()
        other.save()

        found = theirs.GroupResult.restore(mine.id)
        back = celeriac.GroupResult.restore(other.id, ours)

        assert found.get(timeout=SECONDS) == [1, 2, 3]
        assert back.get(timeout=SECONDS) == [2, 3, 4]
        assert (found.as_tuple(), back.as_tuple()) == (mine.as_tuple(), other.as_tuple())
    mine.delete()
    assert theirs.GroupResult.restore(mine.id) is None
