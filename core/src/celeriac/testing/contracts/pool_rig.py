"""A pool at work under the eyes of its contract suite: what is submitted, what is told, and what really ran."""

from __future__ import annotations

import contextvars
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from celeriac.model.message import Message
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import Pool, PoolContext, RunsInMain
from celeriac.testing.harness import PoolHarness

__all__ = ["PoolRig", "TaskName", "execute", "failed", "rig"]

TaskName = Literal["quick", "gated", "notes", "exits", "interrupted", "breaks"]

_note: contextvars.ContextVar[str] = contextvars.ContextVar("note", default="nothing")


def execute(request: Request) -> Outcome:
    """Do what the request's task is named for; it needs nothing of the process that it runs in.

    quick does nothing · gated ends when the file named by its header `gate` is there · notes tells what it finds in a
    context variable, and sets it · exits, interrupted and breaks raise SystemExit, KeyboardInterrupt, RuntimeError.
    """
    _trace(request, "begin")
    try:
        return Outcome(key=request.key, state=SUCCESS, reason=_do(request))
    finally:
        _trace(request, "end")


def failed(request: Request, error: BaseException) -> Outcome:
    """Make the outcome of a run that brought none."""
    return Outcome(key=request.key, state=FAILURE, action=Action.DEAD, reason=repr(error), error=repr(error))


def _do(request: Request) -> str:
    match request.task:
        case "gated":
            gate = Path(request.message.headers["gate"])
            while not gate.exists() and gate.parent.exists():  # the folder goes when a test has failed
                time.sleep(0.001)
        case "notes":
            found = _note.get()
            _note.set(request.id)
            return found
        case "exits":
            raise SystemExit(3)
        case "interrupted":
            raise KeyboardInterrupt
        case "breaks":
            raise RuntimeError("execute broke its contract")
    return ""


def _trace(request: Request, what: str) -> None:
    """Append one line; a short write to a file opened with O_APPEND is whole, whichever process makes it."""
    trace = os.open(request.message.headers["trace"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(trace, f"{what} {request.key}\n".encode())
    finally:
        os.close(trace)


class PoolRig:
    """One pool, what was given to it and what it told. All lists are in order of time."""

    exited: BaseException | None = None
    """What came out of `serve`, for a pool that runs in the main thread."""

    def __init__(self, harness: PoolHarness, concurrency: int, folder: Path) -> None:
        self.submitted: list[int] = []
        self.returned: list[int] = []
        """Keys that `drain` and `stop` gave back."""
        self.told: list[tuple[Literal["started", "outcome", "late"], int]] = []
        """What the pool told; "late" is anything after `stop` had returned."""
        self.outcomes: list[Outcome] = []
        self.patience: float = harness.patience
        self._folder = folder
        self._keys = itertools.count(1)
        self._stopped = False
        self._lock = threading.Lock()
        context = PoolContext(execute=execute, failed=failed, report=self._on_report, started=self._on_started)
        self.pool: Pool = harness.make(concurrency, context)

    @property
    def slots(self) -> int:
        """How many tasks the pool says it runs at once."""
        return self.pool.concurrency

    def start(self) -> None:
        """Start the pool, and give it a main thread if it runs in one."""
        self.pool.start()
        if isinstance(self.pool, RunsInMain):
            threading.Thread(target=self._serve, args=(self.pool,), daemon=True).start()

    def request(self, task: TaskName = "quick", *, gate: str = "gate") -> Request:
        """Return a new request."""
        key = next(self._keys)
        headers = {"trace": str(self._folder / "trace"), "gate": str(self._folder / gate)}
        message = Message(body=b"", routing_key="celery", headers=headers)
        return Request(
            key=key, task=task, id=f"task-{key}", message=message, queue="celery", deliveries=1, received=0.0
        )

    def requests(self, count: int, task: TaskName = "quick") -> list[Request]:
        """Return `count` new requests."""
        return [self.request(task) for _ in range(count)]

    def submit(self, *requests: Request) -> None:
        """Submit requests as one batch."""
        self.submitted += [request.key for request in requests]
        self.pool.submit(requests)

    def open(self, gate: str = "gate") -> None:
        """Let the gated tasks of a gate end."""
        (self._folder / gate).touch()

    def drain(self) -> list[int]:
        """Drain the pool and return the keys."""
        keys = [request.key for request in self.pool.drain()]
        self.returned += keys
        return keys

    def stop(self, timeout: float | None) -> list[int]:
        """Stop the pool and return the keys; from now on it may tell nothing."""
        keys = [request.key for request in self.pool.stop(timeout)]
        with self._lock:
            self._stopped = True
        self.returned += keys
        return keys

    def started(self) -> list[int]:
        """Return the keys of the runs that began so far."""
        return [key for what, key in list(self.told) if what == "started"]

    def reported(self) -> list[int]:
        """Return the keys of the outcomes so far."""
        return [key for what, key in list(self.told) if what == "outcome"]

    def trace(self) -> list[tuple[str, int]]:
        """Return what the tasks themselves wrote: ("begin" or "end", key)."""
        path = self._folder / "trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(what, int(key)) for what, _, key in (line.partition(" ") for line in lines)]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition()`; fail when that takes longer than `patience`."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"in {self.patience:g} s it did not happen that {what}"
            time.sleep(0.002)

    def wait_started(self, keys: Iterable[int]) -> None:
        """Wait until all these runs began."""
        wanted = set(keys)
        self.wait_for(lambda: wanted <= set(self.started()), f"all of {len(wanted)} runs begin")

    def wait_reported(self, keys: Iterable[int]) -> None:
        """Wait until all these outcomes were reported."""
        wanted = set(keys)
        self.wait_for(lambda: wanted <= set(self.reported()), f"all of {len(wanted)} outcomes are reported")

    def account(self) -> None:
        """Check what must hold for every pool that was stopped, whatever happened before."""
        trace = self.trace()
        started, reported, ran = Counter(self.started()), Counter(self.reported()), Counter(trace)
        late = [key for what, key in self.told if what == "late"]
        assert not late, "told after the stop"
        assert reported + Counter(self.returned) == Counter(self.submitted), "not each reported or returned once"
        assert not [key for key, times in started.items() if times > 1], "started more than once"
        assert not [key for (_, key), times in ran.items() if times > 1], "ran more than once"
        assert not [key for _, key in ran if key not in started], "ran, and nobody was told of the start"
        at_once = itertools.accumulate(1 if what == "begin" else -1 for what, _ in trace)
        assert max(at_once, default=0) <= self.slots, "more ran at once than there are slots"
        for key in reported:
            assert ("begin", key) in ran, "reported, but never ran"
            assert self.told.index(("started", key)) < self.told.index(("outcome", key)), "reported before the start"

    def _serve(self, pool: RunsInMain) -> None:
        try:
            pool.serve()
        except BaseException as error:  # noqa: BLE001  it is what the tests ask for
            self.exited = error

    def _on_started(self, request: Request) -> None:
        with self._lock:
            self.told.append(("late" if self._stopped else "started", request.key))

    def _on_report(self, outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            self.outcomes += outcomes
            self.told += [("late" if self._stopped else "outcome", outcome.key) for outcome in outcomes]


@contextmanager
def rig(harness: PoolHarness, concurrency: int = 1, *, start: bool = True) -> Iterator[PoolRig]:
    """Run a pool of so many slots, if it can have them; at the end stop it, check its accounts and its threads."""
    before = set(threading.enumerate())
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = PoolRig(harness, concurrency, Path(folder))
        if start:
            made.start()
        try:
            yield made
        finally:
            made.open()
            made.stop(made.patience)
        # Also runs that were abandoned have ended then, and with them the chance of a late report.
        made.wait_for(lambda: set(threading.enumerate()) <= before, "all threads of the pool end")
        made.account()
