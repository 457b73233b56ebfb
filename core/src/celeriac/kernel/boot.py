"""Start the steps of a graph in order; stop them in exact reverse.

1. `start` calls each step's `start` with a `Boot` of its own. Clean-ups go on one stack, in the order deferred.
2. If a step fails, the stack unwinds, and every error is raised: alone as it is, several as an `ExceptionGroup`.
3. `Running.stop` unwinds the same stack. A clean-up that raises does not keep the others from running.

Clean-ups run in the thread that stops, one after the other: many things must be closed where they were opened
(signal handlers, connections of one thread), so a clean-up cannot be cut short from outside. It is told how long it
has by `boot.remaining()`; one that overruns is reported with the name of its step, and the rest still run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from celeriac.errors import DeadlineExceeded, GraphError, nearest
from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Boot, Deadline, Key, origin

__all__ = ["Running", "start"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")


class Running:
    """Started steps, and the way back. Made by `start`.

    Stopping twice, from any thread or a signal handler, does nothing more than shorten the time that is left.
    """

    def __init__(self, values: dict[Key[Any], Any], deadline: Deadline, boots: list[Boot]) -> None:
        self._values = values
        self._deadline = deadline
        self._boots = boots
        # Taken once and never given back. A lock because `acquire(blocking=False)` is one atomic step that a
        # signal handler may take too.
        self._stopping = threading.Lock()

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the started steps, first started first; none once they have been stopped."""
        return tuple(boot.step.name for boot in self._boots)

    def get(self, key: Key[T]) -> T:
        """Return the value of a key that a step provided or the caller gave.

        Raises: GraphError: there is none; `key in running` asks without raising.
        """
        if key not in self._values:
            near = nearest(key.name, [known.name for known in self._values])
            raise GraphError(f"No boot step provides {key.name!r}.{near}")
        return cast(T, self._values[key])

    def __contains__(self, key: Key[Any]) -> bool:
        return key in self._values

    def stop(self, timeout: float) -> None:
        """Run every clean-up, the last deferred first, telling them that `timeout` seconds are left in all.

        A second call only shortens the time left to a first one that still runs, and returns at once.

        Raises: ExceptionGroup: all that clean-ups raised, and a `DeadlineExceeded` for one that overran, each
            noted with its step. A `BaseExceptionGroup` if one was interrupted.
        """
        if not self._stopping.acquire(blocking=False):
            self._deadline.shorten(timeout)
            return
        self._deadline.reset(timeout)
        errors = _unwind(self._boots, self._deadline)
        if errors:
            raise BaseExceptionGroup("Boot steps did not stop cleanly", errors)


def start(
    graph: Graph,
    values: Mapping[Key[Any], Any],
    *,
    timeout: float,
    unwind_timeout: float = 5.0,
    clock: Clock = SYSTEM_CLOCK,
) -> Running:
    """Start every step of `graph`, in its order.

    A graph may be started again, also while it runs: each `Running` has its own values and clean-ups.

    Args:
        graph: What to start.
        values: A value for each of `graph.given`, no more and no less.
        timeout: Seconds until every step must have started.
        unwind_timeout: Seconds that the clean-ups have, together, when a step failed.
        clock: What both are measured by.

    Raises: GraphError: `values` do not match, nothing was started. Else what the failing step raised, noted
        with its name; DeadlineExceeded: a step returned too late; UndeclaredProvide, UndeclaredNeed: a step
        and its declaration differ. If clean-ups failed too, an ExceptionGroup of all, the first being why
        (`except*` catches an error alone or grouped).
    """
    _check_values(graph, values)
    deadline = Deadline(clock, timeout)
    running = Running(dict(values), deadline, [])
    for step in graph.order:
        boot = Boot(step, running._values, deadline)
        running._boots.append(boot)
        try:
            _start_step(boot, deadline)
        except BaseException as error:
            error.add_note(f"while starting boot step {step.name!r} ({origin(step)})")
            _unwind_failed(running, error, unwind_timeout)
            raise
    return running


def _check_values(graph: Graph, values: Mapping[Key[Any], Any]) -> None:
    missing = sorted(key.name for key in graph.given if key not in values)
    surplus = sorted(key.name for key in values if key not in graph.given)
    if missing or surplus:
        raise GraphError(
            "The values to start with must be those of `graph.given`."
            f" Missing: {', '.join(missing) or 'none'}. Not expected: {', '.join(surplus) or 'none'}."
        )


def _start_step(boot: Boot, deadline: Deadline) -> None:
    name = boot.step.name
    logger.debug("boot step starts", extra={"event": "boot.step.start", "step": name})
    boot.step.start(boot)
    boot.finish()
    if deadline.passed():
        raise DeadlineExceeded(f"Starting boot step {name!r}", deadline.seconds)


def _unwind_failed(running: Running, error: BaseException, timeout: float) -> None:
    """Unwind after `error`; return if all went well, else raise it together with what went wrong."""
    running._deadline.reset(timeout)
    errors = _unwind(running._boots, running._deadline)
    if errors:
        raise BaseExceptionGroup("A boot step failed, and so did the clean-up", [error, *errors]) from None


def _unwind(boots: list[Boot], deadline: Deadline) -> list[BaseException]:
    """Run all clean-ups, last deferred first, and return what they raised."""
    errors: list[BaseException] = []
    while boots:
        boot = boots[-1]
        logger.debug("boot step stops", extra={"event": "boot.step.stop", "step": boot.step.name})
        while boot.cleanups:
            error = _clean_up(boot, deadline)
            if error is not None:
                error.add_note(f"while stopping boot step {boot.step.name!r} ({origin(boot.step)})")
                errors.append(error)
        boots.pop()
    return errors


def _clean_up(boot: Boot, deadline: Deadline) -> BaseException | None:
    cleanup = boot.cleanups.pop()
    late_already = deadline.passed()
    try:
        cleanup()
    except BaseException as error:  # noqa: BLE001  kept, and raised in the group when all clean-ups have run
        return error
    # One that began too late is not to blame: an earlier one, already reported, took its time.
    if deadline.passed() and not late_already:
        return DeadlineExceeded(f"Stopping boot step {boot.step.name!r}", deadline.seconds)
    return None
