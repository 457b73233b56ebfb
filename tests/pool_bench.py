"""A pool whose tasks are functions of the test, by name, and whose reports end up in a queue."""

from __future__ import annotations

import inspect
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from queue import Queue
from typing import Any

from celeriac.model.message import Message
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import Pool, PoolContext

PATIENCE = 10.0
NOTHING = Message(body=b"", routing_key="celery")


class PoolBench:
    """One pool of `kind`. What a task returns is the reason of its outcome; what it raises, the error."""

    def __init__(self, kind: Callable[[int, PoolContext], Pool], concurrency: int = 1, **options: Any) -> None:
        self.outcomes: Queue[Outcome] = Queue()
        self.batches: list[int] = []
        self.started: list[int] = []
        self.retired: Queue[str] = Queue()
        self.tasks: dict[str, Callable[[], Any]] = {}
        self._keys = itertools.count(1)
        context = PoolContext(
            execute=self._execute,
            aexecute=self._aexecute,
            is_async=lambda request: inspect.iscoroutinefunction(self.tasks[request.task]),
            failed=failed,
            report=self._report,
            started=lambda request: self.started.append(request.key),
            retire=self.retired.put,
            options=options,
        )
        self.pool: Any = kind(concurrency, context)

    def request(self, task: Callable[[], Any], *, soft: float | None = None, hard: float | None = None) -> Request:
        """Return a new request that runs `task`."""
        key = next(self._keys)
        self.tasks[f"task-{key}"] = task
        return Request(
            key=key,
            task=f"task-{key}",
            id=str(key),
            message=NOTHING,
            queue="celery",
            deliveries=1,
            received=0.0,
            soft_time_limit=soft,
            time_limit=hard,
        )

    def submit(self, task: Callable[[], Any], **limits: float) -> Request:
        """Submit a run of `task`."""
        request = self.request(task, **limits)
        self.pool.submit([request])
        return request

    def run(self, task: Callable[[], Any], **limits: float) -> Outcome:
        """Submit a run of `task` and return the next outcome."""
        self.submit(task, **limits)
        return self.next()

    def next(self) -> Outcome:
        """Return the next outcome."""
        return self.outcomes.get(timeout=PATIENCE)

    def _execute(self, request: Request) -> Outcome:
        try:
            return succeeded(request, self.tasks[request.task]())
        except Exception as error:  # noqa: BLE001  it is its outcome
            return failed(request, error)

    async def _aexecute(self, request: Request) -> Outcome:
        try:
            return succeeded(request, await self.tasks[request.task]())
        except Exception as error:  # noqa: BLE001  it is its outcome
            return failed(request, error)

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        self.batches.append(len(outcomes))
        for outcome in outcomes:
            self.outcomes.put(outcome)


def succeeded(request: Request, value: Any) -> Outcome:
    return Outcome(key=request.key, state=SUCCESS, reason=str(value))


def failed(request: Request, error: BaseException) -> Outcome:
    return Outcome(key=request.key, state=FAILURE, action=Action.DEAD, reason=repr(error), error=repr(error))


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that tells nobody."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it did not happen that {what}"
        time.sleep(0.005)


def thread_names(prefix: str) -> list[str]:
    """Return the names of the threads there are that begin so."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(prefix))
