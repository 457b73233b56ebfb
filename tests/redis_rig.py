"""A worker in this process whose connections to a real Redis go wrong, a client beside it, and the books of both.

The worker reaches the server through a proxy. The client reaches it directly and never publishes twice: what it was not
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

from proxy import Proxy
from redis_servers import RedisServer
from running import eventually, running

from celeriac import Celeriac
from celeriac.client.result import AsyncResult
from celeriac.errors import StoreError

QUICK: dict[str, Any] = {
    "broker_connection_timeout": 1.0,
    "broker_timeout_seconds": 1.0,
    "result_timeout_seconds": 1.0,
    "broker_reconnect_max_seconds": 0.2,
}
"""Settings of a worker that notices quickly and comes back quickly."""

USER, PASSWORD = "worker", "first"


class Rig:
    """The worker's app and the client's, both of the same tasks.

    Args:
        url: Where the worker finds the store, if not through the proxy.
        lease_seconds: Longer than every fault that is not about leases.
    """

    def __init__(self, server: RedisServer, *, url: str = "", lease_seconds: float = 10.0, **settings: Any) -> None:
        self.server = server
        self.lease_seconds = lease_seconds
        self.password = server.password
        self.runs: Counter[str] = Counter()
        self.last_run = 0.0
        self.accepted: list[tuple[AsyncResult[Any], int]] = []
        self.refused = 0
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)
        self._url = url
        self._settings = settings
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._defects = _Defects()

    def __enter__(self) -> Self:
        self.proxy = self._stack.enter_context(Proxy(self.server.port, path=self.server.socket))
        url = self._url or f"redis://127.0.0.1:{self.proxy.port}/0"
        logging.getLogger("celeriac").addHandler(self._defects)
        self._stack.callback(logging.getLogger("celeriac").removeHandler, self._defects)
        self.worker_app = self._app(url, **{**QUICK, **self._settings})
        self.client = self._app(self._url or f"redis://127.0.0.1:{self.server.port}/0", task_publish_retry=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._stack.close()

    def credentials(self) -> tuple[str, str]:
        """Say who connects, as a rotating secret does."""
        return (self.server.user, self.password)

    def _app(self, url: str, **settings: Any) -> Celeriac:
        options: dict[str, Any] = {"credential_provider": self.credentials} if self.server.password else {}
        app = self._stack.enter_context(Celeriac("rig", broker=url, backend=url, set_as_current=False))
        app.conf.update(
            broker_transport_options={"lease_seconds": self.lease_seconds, **options},
            result_backend_transport_options=options,
            **settings,
        )

        @app.task(name="double", bind=True)
        def double(task: Any, number: int) -> int:
            self._note(task.request.id)
            return number * 2

        @app.task(name="wait", bind=True)
        def wait(task: Any, number: int) -> int:
            self._note(task.request.id)
            self.waiting.release()
            assert self.gate.wait(30)
            return number * 2

        return app

    def _note(self, task_id: str) -> None:
        with self._lock:
            self.runs[task_id] += 1
            self.last_run = time.monotonic()

    @contextmanager
    def working(self, **options: Any) -> Iterator[Any]:
        """Run the worker."""
        with running(self.worker_app, pool="threads", concurrency=4, **options) as worker:
            yield worker

    # -- publishing --------------------------------------------------------------------------------

    def publish(self, count: int = 1, name: str = "double") -> bool:
        """Publish tasks as one batch; return whether they were accepted."""
        numbers = range(len(self.accepted), len(self.accepted) + count)
        try:
            results = self.client.publish_many([self.client.tasks[name].s(number) for number in numbers])
        except StoreError:
            self.refused += count
            return False
        self.accepted += zip(results, numbers, strict=True)
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

    def balance(self, *, once: bool = True, seconds: float = 25.0) -> None:
        """Check that every accepted task has run, `once` if no lease lapsed, has its result, and nothing is left."""
        end = time.monotonic() + seconds
        for result, number in self.accepted:
            assert result.get(timeout=max(end - time.monotonic(), 0.1)) == number * 2
        eventually(lambda: self._left() == (0, 0), "nothing waits, is delayed or held, and there is no letter")
        assert self._defects.texts == []
        runs = {result.id: self.runs[result.id] for result, _ in self.accepted}
        assert min(runs.values(), default=1) >= 1
        if once:
            again = {task_id: count for task_id, count in runs.items() if count > 1}
            assert again == {}, f"{len(again)} of {len(runs)} tasks ran again"

    def _left(self) -> tuple[int, int] | None:
        """Return how many messages and letters are left, or None if the client's old connection is of no use."""
        transport = self.client.connections.transport()
        try:
            depths = transport.depths(timeout=5)
            letters = transport.letters(limit=10, timeout=5)
        except StoreError:
            self.client.connections.drop(transport)
            return None
        return sum(depth.waiting + depth.delayed + depth.held for depth in depths), len(letters)


class _Defects(logging.Handler):
    """What the worker logs when something happens that must not, whatever the store does."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "") in {"internal_error", "receiver_failed", "settle_failed", "submit_failed"}:
            self.texts.append(f"{record.getMessage()} {record.exc_info}")
