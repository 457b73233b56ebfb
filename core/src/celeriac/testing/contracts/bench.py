"""What the tests of the suites stand on: connections that are closed, threads that are joined, time that passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import pytest

from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.spi.service import Service
from celeriac.testing.clock import VirtualClock
from celeriac.testing.harness import Kind, StoreHarness, open_harness

__all__ = ["TIMEOUT", "Bench"]

S = TypeVar("S", bound=Service)
T = TypeVar("T")

TIMEOUT = 5.0
"""The deadline of every call that should be answered at once."""

_A_MOMENT = 0.05
"""How many real seconds a test gives a thread to do what it should not."""


class Bench(Generic[S]):
    """One fresh store for one test. Everything opened through it is closed at the end."""

    def __init__(self, module: Any, kind: Kind) -> None:
        self.module = module
        self._kind = kind
        self._stack = ExitStack()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.harness: StoreHarness[S] = self._stack.enter_context(open_harness(self.module, self._kind))
        self._stack.callback(self._join)
        self.virtual: bool = self.harness.virtual
        self.patience: float = self.harness.patience
        self._moving = VirtualClock()
        self.clock: Clock = self._moving if self.virtual else SYSTEM_CLOCK
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def unopened(self, holder: str = "a", **options: Any) -> S:
        """Return a new connection that is not open yet."""
        service = self.harness.connect(clock=self.clock, holder=holder, **options)
        self._stack.callback(service.close)
        return service

    def connect(self, holder: str = "a", **options: Any) -> S:
        """Return a new, open connection."""
        service = self.unopened(holder, **options)
        service.open(timeout=TIMEOUT)
        return service

    def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass for the store: at once if it obeys the clock, else by waiting a little longer."""
        if self.virtual:
            self._moving.advance(seconds)
        else:
            threading.Event().wait(seconds * 1.05)

    def background(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` in a thread of its own."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  it is raised again where the result is asked for
                future.set_exception(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return future

    def is_blocked(self, future: Future[Any]) -> bool:
        """Return whether `future` has not ended after a moment."""
        return not wait([future], _A_MOMENT).done

    def drive(self, future: Future[T], *, step: float = 0.1) -> T:
        """Let time pass in small steps until `future` ends, and return its result."""
        end = time.monotonic() + self.patience
        while not future.done() and time.monotonic() < end:
            if self.virtual:
                self._moving.advance(step)
            wait([future], 0.01)
        return self.outcome(future)

    def outcome(self, future: Future[T]) -> T:
        """Return the result of `future`, which must end without time passing for the store."""
        try:
            return future.result(self.patience)
        except FutureTimeout:
            pytest.fail(f"a call did not end within {self.patience:g} s")

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(self.patience)
            if thread.is_alive():
                pytest.fail("a call still blocks after its connection was closed")
