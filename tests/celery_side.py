"""The other implementation beside ours: two apps with the same tasks and one folder of results, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.runtime.executor import Executor
from celeriac.testing.app import fresh_url, make_app

celery = pytest.importorskip("celery", reason="Celery is not installed here: `nox -s interop` installs it")

from celery.app.task import Context as CeleryContext  # noqa: E402, F401  after the skip
from celery.contrib.testing.worker import start_worker  # noqa: E402  after the skip
from celery.exceptions import Retry as CeleryRetry  # noqa: E402, F401  after the skip
from celery.exceptions import TaskRevokedError as CeleryTaskRevokedError  # noqa: E402, F401  after the skip
from celery.signals import setup_logging  # noqa: E402  after the skip
from celery.worker.request import Request as CeleryRequest  # noqa: E402  after the skip
from kombu import Message as KombuMessage  # noqa: E402  after the skip
from kombu import compression  # noqa: E402  after the skip
from kombu.utils.json import dumps as kombu_dumps  # noqa: E402, F401  after the skip
from kombu.utils.json import loads as kombu_loads  # noqa: E402, F401  after the skip

QUEUE = "celery"
WRITTEN_BY_THE_TRANSPORT = ("body_encoding", "delivery_info", "delivery_tag", "expiration", "priority")
"""Properties that are no part of `Message.properties`: transports make them of its fields."""

_keys = itertools.count(1)


class Oops(Exception):
    """An exception of the user's own."""


ERRORS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (KeyError, OSError, ValueError, Oops)}


def define(app: Any) -> None:
    """Give an app of either side its tasks."""
    define_error_callbacks(app)

    @app.task(name="proj.echo", shared=False)
    def echo(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @app.task(name="proj.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="proj.fail", shared=False)
    def fail(name: str, *args: Any) -> None:
        raise ERRORS[name](*args)

    @app.task(name="proj.note", shared=False)
    def note(task_id: str) -> None:
        """Take the id of a task that failed."""

    @app.task(name="proj.ignored", shared=False, ignore_result=True)
    def ignored() -> int:
        return 1

    @app.task(name="proj.again", shared=False, bind=True)
    def again(self: Any, *args: Any, **kwargs: Any) -> None:
        raise self.retry(countdown=60)

    @app.task(name="proj.because", shared=False, bind=True)
    def because(self: Any) -> None:
        raise self.retry(exc=KeyError("k"), countdown=60)

    @app.task(name="proj.describe", shared=False, bind=True)
    def describe(self: Any, *args: Any) -> dict[str, Any]:
        names = ("id", "task", "root_id", "parent_id", "group", "group_index", "retries", "eta", "expires", "shadow")
        names += ("argsrepr", "kwargsrepr", "origin", "stamped_headers", "stamps", "correlation_id", "reply_to")
        names += ("callbacks", "errbacks", "chain", "chord", "ignore_result", "replaced_task_nesting")
        found = {name: getattr(self.request, name) for name in names}
        return {**found, "timelimit": list(self.request.timelimit), "mine": self.request.get("mine")}


def define_error_callbacks(app: Any) -> None:
    @app.task(name="proj.one", shared=False)
    def one(task_id: str) -> None:
        CALLS.append(("one", task_id))

    @app.task(name="proj.two", shared=False)
    def two(task_id: str, channel: str) -> None:
        CALLS.append(("two", task_id, channel))

    @app.task(name="proj.keyed", shared=False)
    def keyed(task_id: str, *, channel: str) -> None:
        CALLS.append(("keyed", task_id, channel))

    @app.task(name="proj.details", shared=False)
    def details(request: Any, exc: Exception, traceback: Any, channel: str = "none") -> None:
        CALLS.append(("details", request.id, repr(exc), channel))

    @app.task(name="proj.starred", shared=False)
    def starred(*args: Any) -> None:
        CALLS.append(("starred", len(args)))

    @app.task(name="proj.bound", shared=False, bind=True)
    def bound(self: Any, task_id: str, channel: str = "none") -> None:
        CALLS.append(("bound", task_id, channel))


CALLS: list[Any] = []
"""What the error callbacks that were called at once have noted."""


class Sides:
    """Both apps. What Celery publishes goes to kombu's broker in memory; each can run a message of either."""

    def __init__(self, ours: Celeriac, theirs: Any) -> None:
        self.ours = ours
        self.theirs = theirs
        self.executor = Executor(ours, "ours@localhost")

    def message(self, name: str, args: Any = (), kwargs: Any = None, **options: Any) -> Message:
        """Return the message that our publisher builds."""
        return self.ours.publisher.build(name, args, kwargs, task=self.ours.tasks[name], **options)

    def celery_message(self, name: str, args: Any = (), kwargs: Any = None, **options: Any) -> KombuMessage:
        """Return the message that Celery publishes."""
        self.theirs.tasks[name].apply_async(args, kwargs, **options)
        (message,) = self.published()
        return message

    def send(self, name: str, args: Any, *, known: bool, **options: Any) -> Message:
        """Return the message of a client of ours that knows the task, or only its name."""
        return self.ours.publisher.build(name, args, task=self.ours.tasks[name] if known else None, **options)

    def celery_send(self, name: str, args: Any, *, known: bool, **options: Any) -> Message:
        """Return the message of a client of Celery's that knows the task, or only its name."""
        if known:
            return as_ours(self.celery_message(name, args, **options))
        self.theirs.send_task(name, args, **options)
        (message,) = self.published()
        return as_ours(message)

    def published(self) -> list[KombuMessage]:
        """Take what Celery has published."""
        with self.theirs.connection_for_read() as connection:
            channel = connection.default_channel
            channel.queue_declare(QUEUE)
            return list(iter(lambda: channel.basic_get(QUEUE, no_ack=True), None))

    def run(self, message: Message) -> Outcome:
        """Run a message in our executor and store its records, as a worker would."""
        headers = message.headers
        request = Request(
            key=next(_keys),
            task=headers["task"],
            id=headers["id"],
            message=message,
            queue=QUEUE,
            deliveries=1,
            received=0.0,
        )
        outcome = self.executor.execute(request)
        self.ours.connections.results().put(outcome.records, timeout=5)
        return outcome

    def celery_run(self, message: KombuMessage) -> list[KombuMessage]:
        """Run a message as Celery's worker does, and return what that published."""
        task = self.theirs.tasks[message.headers["task"]]
        CeleryRequest(message, app=self.theirs, task=task, hostname="theirs@localhost").execute()
        return self.published()

    def celery_push(self, message: Message) -> None:
        """Put a message of ours in Celery's queue, as a transport that serves both does."""
        with self.theirs.producer_or_acquire() as producer:
            producer.publish(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=message.headers,
                exchange=message.exchange,
                routing_key=message.routing_key,
                priority=message.priority,
                **message.properties,
            )

    @contextmanager
    def celery_worker(self) -> Iterator[None]:
        """Run a worker of Celery's in a thread."""
        setup_logging.connect(leave_logging)
        try:
            with start_worker(self.theirs, perform_ping_check=False, pool="solo", shutdown_timeout=10):
                yield
        finally:
            setup_logging.disconnect(leave_logging)


def leave_logging(**_: Any) -> None:
    """Keep Celery from setting up the logging of the process that tests."""


def as_kombu(message: Message) -> KombuMessage:
    """Return our message as Celery's consumer would get it."""
    return KombuMessage(
        body=message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=dict(message.headers),
        properties={**message.properties, "priority": message.priority},
        delivery_info={"exchange": message.exchange, "routing_key": message.routing_key},
        delivery_tag="1",
        accept={"application/json"},
    )


def as_ours(message: KombuMessage) -> Message:
    """Return Celery's message as our transports would hand it over."""
    properties = {name: value for name, value in message.properties.items() if name not in WRITTEN_BY_THE_TRANSPORT}
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    if "compression" in message.headers:
        body, _ = compression.compress(body, message.headers["compression"])  # kombu unpacks what it receives at once
    return Message(
        body=body,
        headers=message.headers,
        properties=properties,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        exchange=message.delivery_info["exchange"],
        routing_key=message.delivery_info["routing_key"],
        priority=message.properties.get("priority") or 0,
    )


@contextmanager
def both_sides(folder: Path) -> Iterator[Sides]:
    """Give both apps, their results in `folder`."""
    backend = f"file://{folder}"
    theirs = celery.Celery("theirs", broker="memory://", backend=backend, set_as_current=False)
    theirs.conf.worker_redirect_stdouts = False
    define(theirs)
    theirs.finalize()
    with fresh_url() as url, make_app({"broker_url": url, "result_backend": backend}, {}) as ours:
        define(ours)
        ours.finalize()
        sides = Sides(ours, theirs)
        try:
            yield sides
        finally:
            sides.executor.close()
            theirs.close()
