"""Pools: where tasks run.

The contract, which `celeriac.testing.contracts.pool` checks:

1. Every request that was submitted is reported exactly once: as an outcome, or in the answer of `drain` or `stop`.
2. Requests start in the order they were submitted; none waits behind a running one while a slot is free.
3. `submit` does not block on the tasks. Reports come from any thread and must return quickly.
4. `started` is told of a run before its outcome is reported. What is finished is reported while others still run.
5. A task sees no context variable that another task has set.
6. Whatever comes out of `execute`, no slot is lost and no request: the pool reports a failed outcome. Only a pool that
   runs in the main thread may let SystemExit and KeyboardInterrupt out of `serve`; `stop` then returns the request.
7. `stop` before `start`, or a second time, returns an empty list at once. `submit` after `stop` raises InternalError.
8. A pool with `soft_limits` raises SoftTimeLimitExceeded inside a run that reaches its soft limit, once. One with
   `hard_limits` ends a run that reaches its hard limit: its slot is free again within a second, and its outcome is what
   `failed` makes of TimeLimitExceeded. Whatever the run does after that is reported to nobody.
9. A run whose slot dies is reported as what `failed` makes of WorkerLostError; no other run is harmed.
10. A pool that is `Places` knows the place of a run while `started` is told of it, and while it runs.
11. `start` is called before the worker has a thread or a connection of its own, so that a pool may fork there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, final

from msgspec import Struct, field

from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.spi.declaration import Option

__all__ = ["Killed", "Kills", "Places", "Pool", "PoolCapabilities", "PoolContext", "Rebuild", "Resizes", "RunsInMain"]


class Killed(BaseException):
    """Raised inside a run that its pool ends by force and waits for no longer.

    It passes through `execute`, which makes no outcome of it: that is made by `failed`, and once is enough.
    """


class PoolCapabilities(Struct, frozen=True, kw_only=True):
    """What a pool can do by itself."""

    soft_limits: bool = False
    """Raises SoftTimeLimitExceeded inside a task."""
    hard_limits: bool = False
    """Frees the slot of a task that reaches its hard limit."""
    terminates: bool = False
    """Ends one run when told to (class `Kills`)."""
    resizes: bool = False
    """Gets more or fewer slots while it works (class `Resizes`)."""
    recycles: bool = False
    """Replaces its children after so many tasks, or so much memory."""
    processes: bool = False
    """A task that crashes takes no other with it."""
    coroutines: bool = False
    """Runs `async def` tasks side by side on one loop; else each holds a slot of its own."""
    platforms: str = "all"
    """Where it runs, in a few words."""
    default_concurrency: int | None = None
    """None is the number of processors."""


class Rebuild(Struct, frozen=True, kw_only=True):
    """What a fresh process needs to run tasks: where the app is, as `-A` names it, and the worker's node name.

    `config` is the import path, and the namespace, of an object of settings; `overrides` are the settings that the
    command line gave. `set_up_log` is given the settings of the app, and makes its process log as the worker does; None
    leaves the log as it is. All of it can be pickled.
    """

    app: str
    hostname: str
    config: tuple[str, str | None] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    set_up_log: Callable[[Any], None] | None = None


def _never(_: Request) -> bool:
    return False


def _nobody(_: str) -> None:
    return None


class PoolContext(Struct, frozen=True, kw_only=True):
    """What a pool is given at the start.

    `execute` runs one request to its end and never raises an Exception; `aexecute` does so on a running loop, for the
    tasks for which `is_async` is true. `report` takes outcomes, in batches where the pool has several; `started` is
    told as each run begins. `failed` makes the outcome, its result recorded, of a run that brought none: its slot died
    (WorkerLostError), its limit was reached (TimeLimitExceeded), it was terminated (TaskRevokedError), or `execute`
    raised after all. `rebuild` makes the first two anew in a process that shares no memory with this one; None where
    the app cannot be imported there. `retire` asks the worker to stop warmly, with a reason, because the pool cannot
    go on for long.
    """

    execute: Callable[[Request], Outcome]
    failed: Callable[[Request, BaseException], Outcome]
    report: Callable[[Sequence[Outcome]], None]
    started: Callable[[Request], None]
    aexecute: Callable[[Request], Awaitable[Outcome]] | None = None
    is_async: Callable[[Request], bool] = _never
    rebuild: Rebuild | None = None
    retire: Callable[[str], None] = _nobody
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    """KiB of resident memory."""
    clock: Clock = SYSTEM_CLOCK
    options: Mapping[str, Any] = field(default_factory=dict)


class Pool(ABC):
    """Slots that run tasks. Started once, stopped once; `concurrency` is how many slots there are."""

    capabilities: ClassVar[PoolCapabilities] = PoolCapabilities()
    options: ClassVar[Mapping[str, Option]] = {}

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        self.concurrency = concurrency
        self.context = context

    @final
    def start(self) -> None:
        """Make the slots ready."""
        self._start()

    @final
    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests for the slots, in order."""
        if requests:
            self._submit(requests)

    @final
    def drain(self) -> list[Request]:
        """Take back every request that has not started; the pool goes on with the others and accepts new ones."""
        return self._drain()

    @final
    def stop(self, timeout: float | None) -> list[Request]:
        """Take nothing more, wait up to `timeout` seconds (None: for ever) for what runs.

        Returns: the requests that did not end; what was not started is among them. No report comes afterwards.
        """
        return self._stop(timeout)

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _submit(self, requests: Sequence[Request]) -> None: ...

    @abstractmethod
    def _drain(self) -> list[Request]: ...

    @abstractmethod
    def _stop(self, timeout: float | None) -> list[Request]: ...


class Kills(ABC):
    """Ends one run when told to."""

    @abstractmethod
    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        """End the run under a key by force; `signal` is what its process is sent, where it has one of its own.

        Returns: whether it was running. Its outcome is what `failed` makes of TaskRevokedError.
        """


class Resizes(ABC):
    """Gets more or fewer slots while it works."""

    @abstractmethod
    def resize(self, concurrency: int) -> None:
        """Have so many slots from now on; those that are too many end after what they run. Returns at once."""


class Places(ABC):
    """Tells where its runs are."""

    @abstractmethod
    def place(self, key: int) -> int | str | None:
        """Return the number of the process that runs a key, or the name of its thread; None if it does not run."""


class RunsInMain(ABC):
    """Runs tasks in the thread that calls `serve`, which the worker gives its main thread."""

    @abstractmethod
    def serve(self) -> None:
        """Run what is submitted until `stop` is called from another thread, or `interrupt`."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make `serve` return after the task that runs. Safe in a signal handler."""
