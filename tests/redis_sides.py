"""Both sides on one Redis: two apps with the same tasks, and a worker of each in this process."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest
from celery_side import celery, define, leave_logging, setup_logging, start_worker
from running import running

import celeriac
from celeriac.errors import Ignore, Reject
from celeriac.model.record import GROUP_PREFIX
from celeriac.testing.app import make_app

SECONDS = 30
THEIRS, OURS, BOTH = "celery", "of-ours", "of-both"
CLIENTS = ["ours", "theirs"]
CANVAS = {"ours": celeriac, "theirs": celery}
FIRST = pytest.mark.parametrize("queues", [(THEIRS, OURS), (OURS, THEIRS)], ids=["theirs-first", "ours-first"])
EITHER = pytest.mark.parametrize("client", CLIENTS)
apart = pytest.mark.parametrize("idle", ["one", "apart"], indirect=True)
"""Results in the database of the messages, so that both are settled in one transaction, or in another."""

NEVER = -1
"""What Redis says of a key that does not expire."""


class Sides:
    """Both apps on one broker and one result store, and what their tasks noted: all run in this process."""

    def __init__(self, ours: celeriac.Celeriac, theirs: Any, redis: Any) -> None:
        self.apps = {"ours": ours, "theirs": theirs}
        self.redis = redis
        """A driver of the results' database."""
        self.runs: Counter[str] = Counter()
        self.where: Counter[str] = Counter()

    def task(self, client: str, name: str) -> Any:
        return self.apps[client].tasks[f"proj.{name}"]

    def chord(self, client: str, members: list[Any], body: Any) -> Any:
        return CANVAS[client].chord(members, body)

    def left(self) -> list[str]:
        """Return what chords have left of what was counted. Celery leaves sizes of groups that are no headers."""
        keys = [key.decode() for key in self.redis.keys(f"{GROUP_PREFIX}*")]
        return [key for key in keys if key.endswith((".j", ".d", ".t"))]

    def kept(self) -> list[str]:
        """Return what of it does not expire by itself."""
        return [key for key in self.left() if self.redis.ttl(key) == NEVER]


def define_more(app: Any, sides: Sides, side: str) -> None:
    """Add the tasks of these tests; each notes its runs and where they were."""

    @app.task(name="proj.square", shared=False)
    def square(number: int) -> int:
        sides.where[side] += 1
        return number * number

    @app.task(name="proj.moment", shared=False)
    def moment(number: int) -> list[float]:
        """Return something else each time."""
        return [number, time.time()]

    @app.task(name="proj.listed", shared=False, bind=True)
    def listed(self: Any, values: Any) -> Any:
        sides.runs[self.request.id] += 1
        return values

    @app.task(name="proj.total", shared=False, bind=True)
    def total(self: Any, values: Any) -> int:
        sides.runs[self.request.id] += 1
        return sum(values)

    @app.task(name="proj.growing", shared=False, bind=True)
    def growing(self: Any, number: int, queue: str) -> int:
        self.add_to_chord(square.s(number).set(queue=queue))
        return number

    @app.task(name="proj.replaced", shared=False, bind=True)
    def replaced(self: Any, number: int, queue: str) -> None:
        raise self.replace(square.s(number).set(queue=queue))

    @app.task(name="proj.ends", shared=False)
    def ends(how: str) -> None:
        raise Ignore("of no interest") if how == "ignores" else Reject("not this", requeue=False)

    @app.task(name="workflows_app.step", shared=False)
    def step(*args: int) -> int:
        """Do as the fleet's task of this name does."""
        sides.where[side] += 1
        return 1 + sum(args)

    @app.task(name="proj.failed", shared=False)
    def failed(task_id: str) -> None:
        sides.runs[f"failed {task_id}"] += 1


@contextmanager
def both_apps(server_url: str, *, apart: bool) -> Iterator[Sides]:
    """Give both apps, with nobody at work; `apart` keeps results in another database than messages."""
    base = server_url.rsplit("/", 1)[0]
    broker, results = f"{base}/12", f"{base}/{13 if apart else 12}"
    with ExitStack() as stack:
        ours = stack.enter_context(make_app({"broker_url": broker, "result_backend": results}, {}))
        theirs = celery.Celery("theirs", broker=broker, backend=results, set_as_current=False)
        theirs.conf.update(worker_redirect_stdouts=False, worker_prefetch_multiplier=1)
        sides = Sides(ours, theirs, theirs.backend.client)
        for side, app in sides.apps.items():
            define(app)
            define_more(app, sides, side)
            app.finalize()
        with theirs.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        sides.redis.flushdb()
        setup_logging.connect(leave_logging)
        stack.callback(setup_logging.disconnect, leave_logging)
        stack.callback(theirs.close)
        stack.callback(gc.collect)  # Celery's results speak to the server once more when they go
        yield sides


@contextmanager
def at_work(sides: Sides) -> Iterator[None]:
    """Run a worker of each side, on a queue of its own and on one that both take from."""
    with their_worker(sides), running(sides.apps["ours"], pool="threads", concurrency=2, queues=[OURS, BOTH]):
        yield


def their_worker(sides: Sides) -> AbstractContextManager[Any]:
    """Run a worker of Celery's alone."""
    options = {"perform_ping_check": False, "pool": "solo", "shutdown_timeout": 20}
    worker: AbstractContextManager[Any] = start_worker(sides.apps["theirs"], queues=[THEIRS, BOTH], **options)
    return worker
