"""A prefork pool whose tasks are plain functions, and a way to look at the processes it is made of."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from running import eventually

from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.record import SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_tasks import failed
from celeriac_prefork.pool import PreforkPool

Body = Callable[[Request], Any]
PATIENCE = 20.0


class Bench:
    """`run(name)` submits a call of one of `tasks`; the text it returns becomes the outcome's reason."""

    def __init__(self, concurrency: int, tasks: dict[str, Body], **context: Any) -> None:
        self.outcomes: list[Outcome] = []
        self.started: list[int] = []
        self.submitted: list[int] = []
        self.returned: list[int] = []
        self.retired: list[str] = []
        self._tasks = tasks
        self._keys = itertools.count(1)
        self._lock = threading.Lock()
        given = {"execute": self._execute, "failed": failed, "report": self._report, "retire": self.retired.append}
        self.pool = PreforkPool(
            concurrency,
            PoolContext(**{**given, "started": lambda request: self.started.append(request.key), **context}),
        )

    def _execute(self, request: Request) -> Outcome:
        return Outcome(key=request.key, state=SUCCESS, reason=str(self._tasks[request.task](request)))

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            self.outcomes += outcomes

    def request(self, task: str, *, body: bytes = b"", headers: dict[str, Any] | None = None, **limits: Any) -> Request:
        key = next(self._keys)
        message = Message(body=body, routing_key="celery", headers=headers or {})
        return Request(
            key=key, task=task, id=f"task-{key}", message=message, queue="celery", deliveries=1, received=0.0, **limits
        )

    def run(self, task: str, count: int = 1, **options: Any) -> list[Request]:
        requests = [self.request(task, **options) for _ in range(count)]
        self.submitted += [request.key for request in requests]
        self.pool.submit(requests)
        return requests

    def outcome(self, request: Request) -> Outcome:
        """Wait for the outcome of a request."""
        return eventually(
            lambda: next((each for each in list(self.outcomes) if each.key == request.key), None),
            f"an outcome of {request.task}",
            PATIENCE,
        )

    def result(self, task: str, **options: Any) -> str:
        """Run one call and return what it says."""
        (request,) = self.run(task, **options)
        outcome = self.outcome(request)
        assert outcome.state == SUCCESS, outcome.error
        return outcome.reason

    def wait_all(self, seconds: float = PATIENCE) -> None:
        eventually(lambda: len(self.outcomes) >= len(self.submitted), "all outcomes", seconds)

    def stop(self, timeout: float | None = 10.0) -> None:
        self.returned += [request.key for request in self.pool.stop(timeout)]

    def account(self) -> None:
        reported = Counter(outcome.key for outcome in self.outcomes)
        assert reported + Counter(self.returned) == Counter(self.submitted)
        assert max(Counter(self.started).values(), default=0) <= 1
        assert set(reported) <= set(self.started)

    # -- processes -----------------------------------------------------------------------------------

    @property
    def zygote(self) -> int:
        return self.pool.zygote

    def children(self) -> list[int]:
        return children_of(self.zygote)

    def wait_for_children(self, count: int) -> list[int]:
        return eventually(lambda: (found := self.children()) if len(self.children()) == count else None, "children")


def children_of(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(each) for each in (task / "children").read_text().split()]
    except OSError:
        return []
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def bench(concurrency: int = 1, **tasks: Body) -> Iterator[Bench]:
    """Run a pool with these tasks, as `started` does."""
    with started(Bench(concurrency, {"quick": lambda _: "", "pid": lambda _: os.getpid(), **tasks})) as made:
        yield made


@contextmanager
def started(made: Bench) -> Iterator[Bench]:
    """Run a pool; at the end stop it, and check its accounts and that none of its processes is left."""
    made.pool.start()
    zygote = made.zygote
    try:
        yield made
    finally:
        family = [zygote, *children_of(zygote)]
        made.stop()
    eventually(lambda: not [pid for pid in family if lives(pid)], "the processes of the pool are gone")
    made.account()
