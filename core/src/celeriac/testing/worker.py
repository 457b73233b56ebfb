"""A real worker in a thread of this process, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celeriac import events
from celeriac.errors import CeleriacError
from celeriac.runtime.worker import Worker

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["ThreadedWorker", "WorkerStuck", "start_worker"]

BOOT_SECONDS = 30.0


class WorkerStuck(CeleriacError):
    """A worker in a thread does not end: a thread cannot be ended from outside."""

    def __init__(self, hostname: str, seconds: float) -> None:
        self.hostname = hostname
        self.seconds = seconds
        super().__init__(
            f"{hostname} has not ended {seconds:g} s after it was told to: a task still runs."
            " Let it end before the test does, or give `celeriac_worker_parameters` a longer `shutdown_timeout`."
        )


class ThreadedWorker:
    """Runs a worker of an app in a thread, and another one when the app has got new tasks.

    A worker knows the tasks that there are when it boots. In a test tasks are often defined later: the first call
    of one that is new starts the worker anew, which takes a few milliseconds.

    Args:
        app: The app whose tasks it runs.
        pool: Name of the pool.
        concurrency: Slots of the pool.
        shutdown_timeout: Seconds that running tasks have to end when the worker is stopped.
        parameters: Everything else that `celeriac.runtime.worker.Worker` takes: `queues`, `hostname` …
    """

    def __init__(
        self,
        app: Celeriac,
        *,
        pool: str = "solo",
        concurrency: int = 1,
        shutdown_timeout: float = 10.0,
        **parameters: Any,
    ) -> None:
        self.app = app
        self._parameters = {"pool": pool, "concurrency": concurrency, **parameters}
        self._shutdown_timeout = shutdown_timeout
        self._known: frozenset[str] = frozenset()
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._errors: list[BaseException] = []
        self._publishing = threading.Lock()
        self._receiver = self._before_publish  # one object, so that it can be disconnected again

    @property
    def worker(self) -> Worker:
        """The worker that runs.

        Raises: RuntimeError: none does.
        """
        if self._worker is None:
            raise RuntimeError("The worker is not started.")
        return self._worker

    def start(self) -> None:
        """Start a worker, and wait until it takes tasks.

        Raises: what made its boot fail.
        """
        worker = self._worker = Worker(self.app, **self._parameters)
        self._known = frozenset(self.app.tasks)
        self._errors.clear()
        self._thread = threading.Thread(target=self._run, args=(worker,), name="celeriac-worker", daemon=True)
        self._thread.start()
        worker.ready.wait(BOOT_SECONDS)
        if self._errors:
            self._thread.join()
            raise self._errors.pop()
        events.before_task_publish.connect(self._receiver)

    def stop(self) -> None:
        """Stop the worker, and wait for its running tasks; what has not started goes back to its queue.

        Raises: WorkerStuck: a task does not end. What ended the worker before, if something did.
        """
        events.before_task_publish.disconnect(self._receiver)
        worker, thread = self._worker, self._thread
        if worker is None or thread is None:
            return
        self._worker = self._thread = None
        worker.stop()
        thread.join(self._shutdown_timeout)
        if thread.is_alive():
            worker.stop("cold")
            thread.join(1.0)
        if thread.is_alive():
            raise WorkerStuck(worker.hostname, self._shutdown_timeout)
        if self._errors:
            raise self._errors.pop()

    def reload(self) -> None:
        """Start the worker anew, with the tasks that there are now."""
        self.stop()
        self.start()

    def _run(self, worker: Worker) -> None:
        try:
            worker.run()
        except BaseException as error:  # noqa: BLE001  raised in the thread that started or stops this one
            self._errors.append(error)
            worker.ready.set()

    def _before_publish(self, **_: Any) -> None:
        if self.app.current_task is not None:
            return  # a task that publishes must not stop the worker that runs it
        with self._publishing:
            if self.app.tasks.keys() - self._known:
                self.reload()


@contextmanager
def start_worker(app: Celeriac, **parameters: Any) -> Iterator[ThreadedWorker]:
    """Run a worker of an app in a thread while the block runs; for the parameters see `ThreadedWorker`."""
    worker = ThreadedWorker(app, **parameters)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
