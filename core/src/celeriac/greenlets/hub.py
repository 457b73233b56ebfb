"""What a pool needs of a library of greenlets: a few calls of its event loop, the hub.

Everything here runs in one thread, so nothing needs a lock: a greenlet goes on until it waits. Only `original` gives
what is not replaced by the patch, for the one real thread that watches the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Greenlet", "Hub", "Timer"]


class Greenlet(Protocol):
    """A greenlet of whichever library."""

    @property
    def dead(self) -> bool:
        """Whether it has ended."""

    @property
    def gr_frame(self) -> Any:
        """Its innermost frame; None while it is the one that runs."""

    def switch(self) -> object:
        """Run it from where it waits; only the hub does so."""

    def throw(self, error: BaseException, /) -> object:
        """Raise an error where it waits; only the hub does so."""


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Have it not happen. Does nothing if it has."""


class Hub(ABC):
    """The event loop of the thread that made this object."""

    @abstractmethod
    def spawn(self, function: Callable[[], object]) -> Greenlet:
        """Run `function` in a new greenlet, soon."""

    @abstractmethod
    def park(self) -> None:
        """Wait until somebody calls `resume`, exactly once, with this greenlet."""

    @abstractmethod
    def resume(self, greenlet: Greenlet) -> None:
        """Make a parked greenlet go on, soon."""

    @abstractmethod
    def pause(self) -> None:
        """Let everybody else who can run do so first."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Wait."""

    @abstractmethod
    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function`, which must not wait, in the hub itself."""

    @abstractmethod
    def raise_later(self, seconds: float, error: BaseException) -> Timer:
        """Raise `error` in the greenlet that calls this, wherever it then waits."""

    @abstractmethod
    def kill(self, greenlet: Greenlet) -> None:
        """Raise `celeriac.spi.pool.Killed` in a greenlet, soon; nothing if it has ended."""

    @abstractmethod
    def original(self, module: str, name: str) -> Any:
        """Return what a module of the standard library had under this name before the patch."""
