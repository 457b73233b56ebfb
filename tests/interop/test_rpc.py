"""Over rpc:// on one RabbitMQ, each side awaits what the other's workers return."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery_side import celery, define, leave_logging, setup_logging, start_worker
from running import running

import celeriac
from celeriac import Celeriac
from celeriac.testing.app import make_app

pytest.importorskip("celeriac_amqp.results")

from celeriac_amqp.testing import vhost

pytestmark = [
    pytest.mark.timeout(120),
    # Of the other side's own calls of its driver.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SECONDS = 30


class Shared:
    """One app of each side on the same virtual host; each side defines the same tasks."""

    def __init__(self, url: str, ours: Celeriac) -> None:
        self.ours = ours
        self.theirs = celery.Celery("theirs", broker=url, backend="rpc://", set_as_current=False)
        self.theirs.conf.update(worker_redirect_stdouts=False, worker_detect_quorum_queues=False)
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
    @app.task(name="proj.steps", bind=True, shared=False, track_started=True)
    def steps(self: Any) -> str:
        self.update_state(state="HALF", meta={"done": 1})
        return "whole"


@pytest.fixture
def shared() -> Iterator[Shared]:
    with vhost() as url, make_app({"broker_url": url, "result_backend": "rpc://"}, {}) as ours:
        shared = Shared(url, ours)
        yield shared
        awaiting = shared.theirs.backend.result_consumer
        if awaiting._connection is not None:
            awaiting.stop()
        shared.theirs.pool.force_close_all()
        shared.theirs.close()
    del awaiting, shared
    gc.collect()  # connections that the other side leaves open are told of while that is passed over


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_their_client_awaits_our_worker(shared, serializer):
    for app in (shared.ours, shared.theirs):
        app.conf.update(result_serializer=serializer, accept_content=["json", "pickle"])

    with shared.our_worker():
        many = [shared.theirs.send_task("proj.add", (number, 1)) for number in range(50)]
        failed = shared.theirs.send_task("proj.fail", ("KeyError", "k"))

        assert [result.get(SECONDS) for result in many] == list(range(1, 51))
        with pytest.raises(KeyError):
            failed.get(SECONDS)
        assert failed.state == "FAILURE"
        assert shared.theirs.send_task("proj.steps").get(SECONDS) == "whole"


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_our_client_awaits_their_worker(shared, serializer):
    for app in (shared.ours, shared.theirs):
        app.conf.update(result_serializer=serializer, accept_content=["json", "pickle"])

    with shared.their_worker():
        many = [shared.ours.send_task("proj.add", (number, 1)) for number in range(50)]
        failed = shared.ours.send_task("proj.fail", ("KeyError", "k"))

        assert [result.get(SECONDS) for result in many] == list(range(1, 51))
        with pytest.raises(KeyError):
            failed.get(SECONDS)
        assert failed.state == "FAILURE"
        assert shared.ours.send_task("proj.steps").get(SECONDS) == "whole"


def test_every_step_of_their_chain_on_our_worker_answers_their_client(shared):
    add = shared.theirs.tasks["proj.add"]

    with shared.our_worker():
        last = celery.chain(add.s(1, 1), add.s(2), add.s(3)).apply_async()

        assert last.get(SECONDS) == 7
        assert (last.parent.get(SECONDS), last.parent.parent.get(SECONDS)) == (4, 2)


def test_every_step_of_our_chain_on_their_worker_answers_our_client(shared):
    add = shared.ours.tasks["proj.add"]

    with shared.their_worker():
        last = celeriac.chain(add.s(1, 1), add.s(2), add.s(3)).apply_async()
        both = celeriac.group(add.s(1, number) for number in range(3)).apply_async()

        assert last.get(SECONDS) == 7
        assert (last.parent.get(SECONDS), last.parent.parent.get(SECONDS)) == (4, 2)
        assert both.get(SECONDS) == [1, 2, 3]


def test_the_members_of_a_group_that_ends_our_chain_answer_our_client_from_their_worker(shared):
    add = shared.ours.tasks["proj.add"]

    with shared.their_worker():
        spread = celeriac.chain(add.s(1, 1), celeriac.group(add.s(10), add.s(20))).apply_async()

        assert spread.get(SECONDS) == [12, 22]
