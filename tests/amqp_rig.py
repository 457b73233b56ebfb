"""A worker in this process whose connections to a real RabbitMQ go wrong, a client beside it, and the books of both.

The worker reaches the node through a proxy. The client reaches it directly and never publishes twice: what it was not
told to be accepted is not in the books.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from proxy import Proxy
from running import eventually, running

from celeriac import Celeriac
from celeriac.errors import ConfigurationError, StoreError
from celeriac_amqp.testing import Node

QUICK: dict[str, Any] = {
    "broker_connection_timeout": 2.0,
    "broker_timeout_seconds": 2.0,
    "broker_reconnect_max_seconds": 0.2,
}
"""Settings of a worker that notices quickly and comes back quickly."""

HEARTBEAT = 1.0
DEFECTS = {"internal_error", "receiver_failed", "settle_failed", "submit_failed"}


class AmqpRig:
    """The worker's app and the client's, both of the same tasks, on a virtual host of their own."""

    def __init__(self, node: Node, *, queue_type: str = "classic", **settings: Any) -> None:
        self.node = node
        self.runs: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.last_run = 0.0
        self.accepted: list[str] = []
        self.refused = 0
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)
        self.records: list[logging.LogRecord] = []
        self._options = {"queue_type": queue_type, "native_delayed_delivery_queue_type": queue_type}
        self._settings = settings
        self._stack = ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.url = self._stack.enter_context(self.node.vhost())
        self.vhost = urlsplit(self.url).path[1:]
        self.proxy = self._stack.enter_context(Proxy(self.node.port))
        listener = _Listener(self.records)
        logging.getLogger("celeriac").addHandler(listener)
        logging.getLogger("celeriac_amqp").addHandler(listener)
        self._stack.callback(logging.getLogger("celeriac").removeHandler, listener)
        self._stack.callback(logging.getLogger("celeriac_amqp").removeHandler, listener)
        self.worker_url = self.url.replace(str(self.node.port), str(self.proxy.port), 1)
        self.worker_app = self._app(self.worker_url, **{**QUICK, **self._settings})
        self.client = self._app(self.url, task_publish_retry=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._stack.close()

    def _app(self, url: str, **settings: Any) -> Celeriac:
        app = self._stack.enter_context(Celeriac("rig", broker=url, backend="disabled://", set_as_current=False))
        app.conf.update(broker_transport_options={"heartbeat": HEARTBEAT, **self._options}, **settings)

        @app.task(name="double", bind=True)
        def double(task: Any, number: int) -> int:
            with self._noted(task.request.id):
                return number * 2

        @app.task(name="wait", bind=True)
        def wait(task: Any, number: int) -> int:
            with self._noted(task.request.id):
                self.waiting.release()
                assert self.gate.wait(60)
                return number * 2

        return app

    @contextmanager
    def _noted(self, task_id: str) -> Iterator[None]:
        with self._lock:
            self.runs[task_id] += 1
            self.last_run = time.monotonic()
        yield
        with self._lock:
            self.ended[task_id] += 1

    @contextmanager
    def working(self, *, once: bool = True, **options: Any) -> Iterator[Any]:
        """Run the worker; in the end, balance the books, stop it, and find nothing left in RabbitMQ.

        once: whether no task may have run more than once.
        """
        with running(self.worker_app, pool="threads", concurrency=4, **options) as worker:
            yield worker
            self.balance(once=once)
        # What is held, and what waits to be handed back, is at its queue again now.
        assert self.left() == (0, 0)
        assert [record.getMessage() for record in self.records if _is_defect(record)] == []

    # -- publishing --------------------------------------------------------------------------------

    def publish(self, count: int = 1, name: str = "double") -> bool:
        """Publish tasks as one batch; return whether they were accepted."""
        numbers = range(len(self.accepted), len(self.accepted) + count)
        try:
            results = self.client.publish_many([self.client.tasks[name].s(number) for number in numbers])
        except StoreError:
            self.refused += count
            return False
        self.accepted += [result.id for result in results]
        return True

    def occupy(self, count: int = 4) -> None:
        """Let every thread of the worker run a task that ends when `gate` is set."""
        self.gate.clear()
        assert self.publish(count, "wait")
        for _ in range(count):
            assert self.waiting.acquire(timeout=20), "the tasks do not begin"

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Publish small batches all the time."""
        stop = threading.Event()

        def stream() -> None:
            while not stop.wait(0.005):
                self.publish(5)

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(20)

    # -- the books ---------------------------------------------------------------------------------

    def balance(self, *, once: bool = True, seconds: float = 40.0) -> None:
        """Check that every accepted task has run, `once` if the worker lived on, and that nothing waits."""
        accepted = set(self.accepted)
        eventually(lambda: accepted <= set(self.ended), "every accepted task runs", seconds)
        eventually(lambda: self.left() == (0, 0), "nothing waits, and there is no letter", seconds)
        assert not once or self.again() == {}, f"{len(self.again())} of {len(accepted)} tasks ran again"

    def again(self) -> dict[str, int]:
        """Return the accepted tasks that ran more than once, and how often."""
        return {task_id: self.runs[task_id] for task_id in self.accepted if self.runs[task_id] > 1}

    def left(self) -> tuple[int, int] | None:
        """Return how many messages wait, and how many letters there are; None if RabbitMQ cannot be asked."""
        transport = None
        try:
            transport = self.client.connections.transport()
            depths = transport.depths(["celery"], timeout=10)
            letters = transport.letters(limit=10, timeout=10)
        except StoreError:
            if transport is not None:
                self.client.connections.drop(transport)
            return None
        return sum(depth.waiting for depth in depths), len(letters)

    # -- the node ----------------------------------------------------------------------------------

    def close_connections(self, times: int, pause: float = 0.1) -> int:
        """Have RabbitMQ close all its connections, again and again, `pause` seconds apart; return how many it closed.

        This is what the management plugin does to one; that knows of a connection seconds after it was opened only.
        """
        code = (
            'lists:sum([begin timer:sleep({ms}), length([catch rabbit_networking:close_connection(Pid, "by a test")'
            " || Pid <- rabbit_networking:connections()]) end || _ <- lists:seq(1, {times})])."
        )
        return int(self.node.ctl("eval", code.format(ms=round(pause * 1000), times=times)))


def _is_defect(record: logging.LogRecord) -> bool:
    """Whether something happened that must not, whatever RabbitMQ does; its settings are another matter."""
    error = record.exc_info[1] if record.exc_info else None
    return getattr(record, "event", "") in DEFECTS and not isinstance(error, ConfigurationError)


class _Listener(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)
