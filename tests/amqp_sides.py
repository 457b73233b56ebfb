"""One app of each side on one virtual host of RabbitMQ, and their workers in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("celery")
pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celery.worker import state
from celery_side import celery, define, leave_logging, setup_logging, start_worker
from running import running

from celeriac import Celeriac
from celeriac.testing.app import make_app
from celeriac_amqp.testing import server, vhost

SECONDS = 30
MARKS = [
    pytest.mark.timeout(120),
    # Of the other side's own calls of its driver.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Shared:
    """One app of each side on the same virtual host; each side defines the same tasks."""

    def __init__(self, url: str, ours: Celeriac, backend: str, settings: Mapping[str, Any]) -> None:
        self.url = url
        self.ours = ours
        self.theirs, self.served = (
            celery.Celery("theirs", broker=url, backend=backend, set_as_current=False) for _ in range(2)
        )
        for app in (self.theirs, self.served):
            # One for the client and one for the worker: in one process, they would read each other's connections.
            app.conf.update(worker_redirect_stdouts=False, worker_prefetch_multiplier=1, **settings)
        for app in (self.ours, self.theirs, self.served):
            define(app)
            define_more(app)
            app.finalize()

    def close(self) -> None:
        """Close the connections of Celery's apps."""
        for app in (self.theirs, self.served):
            awaiting = getattr(app.backend, "result_consumer", None)
            if awaiting is not None and getattr(awaiting, "_connection", None) is not None:
                awaiting.stop()
            app.pool.force_close_all()
            app.close()

    @contextmanager
    def our_worker(self, *queues: str) -> Iterator[None]:
        with running(self.ours, pool="threads", concurrency=2, queues=list(queues) or None):
            yield

    @contextmanager
    def their_worker(self, *queues: str) -> Iterator[None]:
        setup_logging.connect(leave_logging)
        selected = {"queues": ",".join(queues)} if queues else {}
        try:
            with start_worker(self.served, perform_ping_check=False, pool="solo", shutdown_timeout=20, **selected):
                yield
                # It waits ten seconds for whatever comes before it looks whether it is to end.
                state.should_terminate = 0
                self.served.control.broadcast("ping", reply=False)
        finally:
            setup_logging.disconnect(leave_logging)

    def client(self, side: str) -> Any:
        return getattr(self, side)

    @contextmanager
    def worker_of(self, side: str, *queues: str) -> Iterator[None]:
        with self.our_worker(*queues) if side == "ours" else self.their_worker(*queues):
            yield

    def shape(self, queue: str) -> dict[str, Any]:
        """Return how a queue is declared and bound."""
        return shape(self.url, queue)


def define_more(app: Any) -> None:
    """Give an app the tasks that only the tests on RabbitMQ need."""

    @app.task(name="proj.double", shared=False)
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="proj.once_more", shared=False, bind=True, max_retries=3)
    def once_more(self: Any, wanted: int, countdown: float = 0, queue: str | None = None) -> int:
        if self.request.retries < wanted:
            raise self.retry(countdown=countdown, queue=queue)
        return self.request.retries

    @app.task(name="proj.ran_on", shared=False, bind=True)
    def ran_on(self: Any, *_: Any) -> str:
        return str(self.app.main)


def shape(url: str, name: str) -> dict[str, Any]:
    """Return how a queue is declared and bound."""
    path = urlsplit(url).path[1:]
    queue = server().call("GET", f"queues/{path}/{name}")
    bound = server().call("GET", f"queues/{path}/{name}/bindings")
    return {
        **{key: queue[key] for key in ("durable", "auto_delete", "exclusive", "arguments")},
        "bindings": sorted((each["source"], each["routing_key"]) for each in bound),
    }


@contextmanager
def both(
    *, backend: str = "rpc://", ours: Mapping[str, Any] | None = None, theirs: Mapping[str, Any] | None = None
) -> Iterator[Shared]:
    """Give both apps on a fresh virtual host."""
    with (
        vhost() as url,
        make_app({"broker_url": url, "result_backend": backend, **(ours or {})}, {"main": "ours"}) as app,
    ):
        shared = Shared(url, app, backend, theirs or {})
        try:
            yield shared
        finally:
            shared.close()
    del shared
    gc.collect()  # connections that the other side leaves open are told of while that is passed over
