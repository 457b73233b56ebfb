"""What the author of a boot step writes against: `Key`, `Step` and `Boot`.

A step takes values that other steps made, makes values of its own, and says how to give back what it acquired:

    POOL: Key[Pool] = Key("pool")
    HUB: Key[Hub] = Key("hub")

    class PoolStep(Step):
        name = "pool"
        needs = (HUB,)
        provides = (POOL,)

        def start(self, boot: Boot) -> None:
            pool = Pool(boot.get(HUB))
            boot.defer(lambda: pool.stop(boot.remaining()))
            boot.provide(POOL, pool)

Order follows from `needs` and `provides` alone: no step names another, so no plugin imports another.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from msgspec import Struct

from celeriac.errors import GraphError, UndeclaredNeed, UndeclaredProvide
from celeriac.kernel.clock import SYSTEM_CLOCK, Clock

__all__ = ["Boot", "Cleanup", "Deadline", "Key", "Step", "origin"]

T = TypeVar("T")

Cleanup = Callable[[], object]
"""Gives back one acquired thing. Its return value is ignored."""


class Key(Struct, Generic[T], frozen=True):
    """The name of a value of type `T` that one step provides and others need.

    Keys of one name are equal, wherever they are made: two distributions that agree on a name need not import
    each other. Write the type at the definition: `POOL: Key[Pool] = Key("pool")`.
    """

    name: str


class Step(ABC):
    """One part of a program that is started and stopped with the others.

    Args:
        name: Unique in its graph. Of two steps that could start next, the lower name starts first.
        needs: What `start` takes with `boot.get`.
        provides: What `start` makes with `boot.provide`; all of it, each key once.

    A graph takes a step as a class, which it calls without arguments, or as an instance. An instance may be
    started several times, as after a lost connection: keep what one start acquires in that start's values and
    clean-ups, not on `self`.
    """

    name: str = ""
    needs: tuple[Key[Any], ...] = ()
    provides: tuple[Key[Any], ...] = ()

    @abstractmethod
    def start(self, boot: Boot) -> None:
        """Acquire, and register the clean-up on the line after.

        Runs in the thread that boots, after every step that provides one of `needs`, and should return before
        `boot.deadline`. What it raises unwinds the whole boot, its own clean-ups first.
        """

    def __repr__(self) -> str:
        return f"<boot step {self.name!r} of {origin(self)}>"


def origin(step: object) -> str:
    """Return `module.Class` of a step, for messages."""
    kind = step if isinstance(step, type) else type(step)
    return f"{kind.__module__}.{kind.__qualname__}"


class Deadline:
    """The moment a start or a stop has to be over; one object, shared by all its steps."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.seconds: float = math.inf
        self.moment: float = math.inf
        self.reset(seconds)

    def reset(self, seconds: float) -> None:
        """Begin anew, `seconds` from now."""
        self.seconds = seconds
        self.moment = self._clock.monotonic() + seconds

    def shorten(self, seconds: float) -> None:
        """End `seconds` from now, unless the end is nearer already."""
        if self._clock.monotonic() + seconds < self.moment:
            self.reset(seconds)

    def remaining(self) -> float:
        """Return the seconds left, 0.0 once it has passed."""
        return max(0.0, self.moment - self._clock.monotonic())

    def passed(self) -> bool:
        """Return whether no time is left."""
        return self._clock.monotonic() >= self.moment


class Boot:
    """What one step sees of the boot while it starts, and of the stop while its clean-ups run.

    Made by `celeriac.kernel.boot.start`. To test a step alone, make one: `Boot(MyStep(), {KEY: value})`, call
    `start`, look at `values` and call the `cleanups` from the last to the first.
    """

    def __init__(self, step: Step, values: dict[Key[Any], Any], deadline: Deadline | None = None) -> None:
        self.step = step
        self.values = values
        self.cleanups: list[Cleanup] = []
        self._deadline = deadline or Deadline(SYSTEM_CLOCK, math.inf)
        self._provided: set[Key[Any]] = set()
        self._starting = True

    @property
    def deadline(self) -> float:
        """The moment to be done, as `Clock.monotonic()` counts: of the start, in a clean-up that of the stop."""
        return self._deadline.moment

    def remaining(self) -> float:
        """Return the seconds left until `deadline`, never less than 0.0: the timeout for what blocks."""
        return self._deadline.remaining()

    def get(self, key: Key[T]) -> T:
        """Return the value of a key of this step's `needs`.

        Raises: UndeclaredNeed: `key` is not among them, so nothing would order this step after its provider.
        """
        if key not in self.step.needs:
            raise UndeclaredNeed(self.step.name, key.name)
        return cast(T, self.values[key])

    def provide(self, key: Key[T], value: T) -> None:
        """Set the value of a key of this step's `provides`.

        Raises: UndeclaredProvide: `key` is not among them. GraphError: it was provided already, or the start
            of this step is over.
        """
        self._check_starting("provide")
        if key not in self.step.provides:
            raise UndeclaredProvide(self.step.name, key.name, declared=False)
        if key in self._provided:
            raise GraphError(f"Boot step {self.step.name!r} provides {key.name!r} twice. Provide each key once.")
        self._provided.add(key)
        self.values[key] = value

    def defer(self, cleanup: Cleanup) -> None:
        """Call `cleanup` when the boot unwinds, after everything that was deferred later.

        It runs once, in the thread that stops, however the start or other clean-ups ended. Call this on the
        line after acquiring, before anything else can fail.

        Raises: GraphError: the start of this step is over.
        """
        self._check_starting("defer")
        self.cleanups.append(cleanup)

    def finish(self) -> None:
        """End the start of this step; called by the kernel when `start` returned.

        Raises: UndeclaredProvide: a key of `provides` was not provided.
        """
        self._starting = False
        for key in self.step.provides:
            if key not in self._provided:
                raise UndeclaredProvide(self.step.name, key.name, declared=True)

    def _check_starting(self, method: str) -> None:
        if not self._starting:
            raise GraphError(
                f"Boot step {self.step.name!r} called boot.{method} after its start was over."
                f" Call it within `start`, in the thread that boots."
            )
