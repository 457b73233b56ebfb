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
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

from msgspec import Struct, field

from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.spi.declaration import Option

__all__ = ["Pool", "PoolCapabilities", "PoolContext", "RunsInMain"]


class PoolCapabilities(Struct, frozen=True, kw_only=True):
    """What a pool can do by itself."""

    soft_limits: bool = False
    """Raises SoftTimeLimitExceeded inside a task."""
    hard_limits: bool = False
    """Ends a task that does not end by itself (also `terminate`)."""
    resizes: bool = False
    recycles: bool = False
    """Replaces its children after so many tasks, or so much memory."""
    processes: bool = False
    """A task that crashes takes no other with it."""
    default_concurrency: int | None = None
    """None is the number of processors."""


class PoolContext(Struct, frozen=True, kw_only=True):
    """What a pool is given at the start.

    `execute` runs one request to its end and never raises an Exception; `report` takes outcomes, in batches where
    the pool has several; `started` is told as each run begins. `failed` makes the outcome, its result recorded, of a
    run that brought none: its slot died, its limit was reached, or `execute` raised after all.
    """

    execute: Callable[[Request], Outcome]
    failed: Callable[[Request, BaseException], Outcome]
    report: Callable[[Sequence[Outcome]], None]
    started: Callable[[Request], None]
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


class RunsInMain(ABC):
    """Runs tasks in the thread that calls `serve`, which the worker gives its main thread."""

    @abstractmethod
    def serve(self) -> None:
        """Run what is submitted until `stop` is called from another thread, or `interrupt`."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make `serve` return after the task that runs. Safe in a signal handler."""
