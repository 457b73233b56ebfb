"""A pool at work under the eyes of its contract suite: what is submitted, what is told, and what really ran."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest

from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.record import SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import Places, Pool, PoolContext, RunsInMain
from celeriac.testing.contracts.pool_tasks import ASYNC_TASKS, aexecute, execute, failed, is_async
from celeriac.testing.harness import PoolHarness

__all__ = ["MACHINE_SECONDS", "PoolRig", "needs", "needs_slots", "rig"]

MACHINE_SECONDS = 4.0
"""What a loaded machine may add to a promise of one second."""


class PoolRig:
    """One pool, what was given to it and what it told. All lists are in order of time."""

    exited: BaseException | None = None
    """What came out of `serve`, for a pool that runs in the main thread."""

    def __init__(self, harness: PoolHarness, concurrency: int, folder: Path, **context: Any) -> None:
        self.submitted: list[int] = []
        self.returned: list[int] = []
        """Keys that `drain` and `stop` gave back."""
        self.told: list[tuple[Literal["started", "outcome", "late"], int]] = []
        """What the pool told; "late" is anything after `stop` had returned."""
        self.outcomes: list[Outcome] = []
        self.patience: float = harness.patience
        self.places: dict[int, int | str | None] = {}
        """Where each run was while its start was told, if the pool is `Places`."""
        self.most_slots: int = concurrency
        """The most slots that it had at any time."""
        self._folder = folder
        self._children = _children()
        self._keys = itertools.count(1)
        self._stopped = False
        self._lock = threading.Lock()
        given = PoolContext(
            execute=execute,
            aexecute=aexecute,
            is_async=is_async,
            failed=failed,
            report=self._on_report,
            started=self._on_started,
            **context,
        )
        self.pool: Pool = harness.make(concurrency, given)
        self.most_slots = self.pool.concurrency

    @property
    def slots(self) -> int:
        """How many tasks the pool says it runs at once."""
        return self.pool.concurrency

    def start(self) -> None:
        """Start the pool, and give it a main thread if it runs in one."""
        self.pool.start()
        if isinstance(self.pool, RunsInMain):
            threading.Thread(target=self._serve, args=(self.pool,), daemon=True).start()

    def request(
        self,
        task: str = "quick",
        *,
        gate: str = "gate",
        soft: float | None = None,
        hard: float | None = None,
        on_loop: bool = False,
        body: bytes = b"",
    ) -> Request:
        """Return a new request; `on_loop` is of an `async def` task."""
        key = next(self._keys)
        headers = {"trace": str(self._folder / "trace"), "gate": str(self._folder / gate), "async": on_loop}
        message = Message(body=body, routing_key="celery", headers=headers)
        return Request(
            key=key,
            task=task,
            id=f"task-{key}",
            message=message,
            queue="celery",
            deliveries=1,
            received=0.0,
            soft_time_limit=soft,
            time_limit=hard,
        )

    def requests(self, count: int, task: str = "quick", **options: Any) -> list[Request]:
        """Return `count` new requests."""
        return [self.request(task, **options) for _ in range(count)]

    def interruptible(self, task: str, **options: Any) -> Request:
        """Return a new request of a task that this pool can interrupt: on its loop, if it has one."""
        return self.request(task, on_loop=self.pool.capabilities.coroutines and task in ASYNC_TASKS, **options)

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

    def by_key(self) -> dict[int, Outcome]:
        """Return the outcomes so far."""
        return {outcome.key: outcome for outcome in list(self.outcomes)}

    def outcome(self, request: Request) -> Outcome:
        """Return the outcome of a request, once it is reported."""
        self.wait_reported([request.key])
        return self.by_key()[request.key]

    def trace(self) -> list[tuple[str, int]]:
        """Return what the tasks themselves wrote, "begin" or "end", and "gone" for a run that brought no outcome."""
        return [(what, key) for what, key, _ in self._lines()]

    def processes(self) -> dict[int, int]:
        """Return the number of the process that each run was in."""
        return {key: pid for what, key, pid in self._lines() if what == "begin"}

    def pids(self) -> set[int]:
        """Return the numbers of the processes that tasks ran in."""
        return set(self.processes().values())

    def running(self, trace: Sequence[tuple[str, int]]) -> list[int]:
        """Return how many ran at once after each line of a trace.

        Those that were ended, or left alone, are not counted: when they left their slot is not to be seen from here.
        """
        gone = {key for what, key in trace if what == "gone"}
        now: set[int] = set()
        counts = []
        for what, key in trace:
            if key not in gone:
                (now.add if what == "begin" else now.discard)(key)
                counts.append(len(now))
        return counts

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

    def wait_begun(self, keys: Iterable[int]) -> None:
        """Wait until all these runs are inside their task."""
        wanted = {("begin", key) for key in keys}
        self.wait_for(lambda: wanted <= set(self.trace()), f"all of {len(wanted)} runs are inside their task")

    def wait_free(self, seconds: float, slots: int = 1) -> None:
        """Wait until so many runs can begin at once, which should be `seconds` from now."""
        gate = f"free-{time.monotonic_ns()}"
        self.submit(*(requests := self.requests(slots, "gated", gate=gate)))
        keys = {request.key for request in requests}
        deadline = time.monotonic() + min(self.patience, seconds + MACHINE_SECONDS)
        while not keys <= set(self.started()):
            assert time.monotonic() < deadline, f"not {slots} slots are free after {seconds:g} s"
            time.sleep(0.002)
        self.open(gate)

    def account(self) -> None:
        """Check what must hold for every pool that was stopped, whatever happened before."""
        trace = self.trace()
        started, reported = Counter(self.started()), Counter(self.reported())
        ran = Counter(key for what, key in trace if what == "begin")
        succeeded = {outcome.key for outcome in self.outcomes if outcome.state == SUCCESS}
        late = [key for what, key in self.told if what == "late"]
        assert not late, "told after the stop"
        given, back = Counter(self.submitted), reported + Counter(self.returned)
        assert not [key for key in given | back if given[key] != back[key]], "not each reported or returned once"
        assert not [key for key, times in started.items() if times > 1], "started more than once"
        assert not [key for key, times in ran.items() if times > 1], "ran more than once"
        assert not [key for key in ran if key not in started], "ran, and nobody was told of the start"
        assert max(self.running(trace), default=0) <= self.most_slots, "more ran at once than there are slots"
        assert succeeded <= set(ran), "reported, but never ran"
        for key in reported:
            assert self.told.index(("started", key)) < self.told.index(("outcome", key)), "reported before the start"

    def wait_alone(self) -> None:
        """Wait until no process that ran a task is left, and of children of this one only those before."""
        others = self.pids() - {os.getpid()}
        self.wait_for(lambda: not [pid for pid in others if _lives(pid)], "the processes of the pool are gone")
        self.wait_for(lambda: _children() <= self._children, "the children of this process are gone")

    def _lines(self) -> list[tuple[str, int, int]]:
        path = self._folder / "trace"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(what, int(key), int(pid)) for what, key, pid in lines]

    def _serve(self, pool: RunsInMain) -> None:
        try:
            pool.serve()
        except BaseException as error:  # noqa: BLE001  it is what the tests ask for
            self.exited = error

    def _on_started(self, request: Request) -> None:
        if isinstance(self.pool, Places):
            self.places[request.key] = self.pool.place(request.key)
        with self._lock:
            self.told.append(("late" if self._stopped else "started", request.key))

    def _on_report(self, outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            self.outcomes += outcomes
            self.told += [("late" if self._stopped else "outcome", outcome.key) for outcome in outcomes]


@contextmanager
def rig(
    harness: PoolHarness, concurrency: int = 1, *, start: bool = True, needing: str = "", **context: Any
) -> Iterator[PoolRig]:
    """Run a pool of so many slots, if it can have them; at the end stop it, check its accounts and what it leaves.

    Skips the test, before anything starts, if the pool does not declare the capability `needing`. `context` is what its
    `PoolContext` has beside the usual.
    """
    before = set(threading.enumerate())
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = PoolRig(harness, concurrency, Path(folder), **context)
        if needing:
            needs(made, needing)
        if start:
            made.start()
        try:
            yield made
        finally:
            made.open()
            made.stop(made.patience)
        # Also runs that were abandoned have ended then, and with them the chance of a late report.
        made.wait_for(lambda: set(threading.enumerate()) <= before, "all threads of the pool end")
        made.wait_alone()
        made.account()


def needs(pool: PoolRig, *capabilities: str) -> None:
    """Skip a test of what a pool does not declare."""
    for capability in capabilities:
        if not getattr(pool.pool.capabilities, capability):
            pytest.skip(f"does not declare `{capability}`")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # One that nobody has waited for yet has ended all the same.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return not os.path.isdir("/proc/self")


def _children() -> set[int]:
    """The children of this process; none where the system does not tell."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    if not tasks.exists():
        return set()
    found: set[int] = set()
    for thread in list(tasks.iterdir()):
        try:
            found.update(int(pid) for pid in (thread / "children").read_text().split())
        except OSError:  # a thread that has just ended
            continue
    return found


def needs_slots(pool: PoolRig, count: int) -> None:
    """Skip a test for which a pool has too few slots, whatever it is asked for."""
    if pool.slots < count:
        assert pool.pool.capabilities.default_concurrency == pool.slots, "fewer slots than it was asked for"
        pytest.skip(f"a pool of {pool.slots} slot")
