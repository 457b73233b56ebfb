"""What a running pool can be told from outside: to end one run, to have more or fewer slots, to say what runs."""

from __future__ import annotations

import logging
import signal as signals
import threading

from msgspec import Struct

from celeriac.errors import ConfigurationError, nearest
from celeriac.runtime.inflight import Inflight
from celeriac.runtime.prefetch import Prefetch
from celeriac.runtime.refusals import unsupported
from celeriac.spi.pool import Kills, Places, Pool, Resizes

__all__ = ["PoolControl", "RunState"]

logger: logging.Logger = logging.getLogger(__name__)


class RunState(Struct, frozen=True, kw_only=True):
    """One task that runs now."""

    id: str
    task: str
    queue: str
    seconds: float
    """Since it began."""
    place: int | str | None
    """The number of the process that runs it, or the name of its thread; None where the pool does not tell."""


class PoolControl:
    """Tells a pool, and what goes by its size. Every method is called from any thread."""

    def __init__(self, name: str, pool: Pool, inflight: Inflight, prefetch: Prefetch) -> None:
        self._name = name
        self._pool = pool
        self._inflight = inflight
        self._prefetch = prefetch
        self._resizing = threading.Lock()

    def terminate(self, task_id: str, signal: str = "TERM") -> bool:
        """End every run of a task by force.

        Args:
            task_id: The task's id.
            signal: What its process is sent, where it has one of its own: `TERM`, `SIGTERM`, `KILL` and so on.

        Returns: whether one was running. What waits is not touched: it has to be revoked.
        Raises: ConfigurationError: there is no such signal. Unsupported: this pool cannot; names those that can.
        """
        if not isinstance(self._pool, Kills):
            raise unsupported("terminating a task", self._name, "terminates")
        name = _signal_name(signal)
        keys = [held.request.key for held, _ in self._inflight.runs() if held.request.id == task_id]
        ended = [key for key in keys if self._pool.terminate(key, signal=name)]
        if ended:
            logger.warning(
                "task %s is terminated", task_id, extra={"event": "terminated", "task_id": task_id, "signal": name}
            )
        return bool(ended)

    def resize(self, slots: int, *, who: str = "", reason: str = "") -> None:
        """Have so many slots from now on; what the worker holds follows.

        Args:
            slots: How many.
            who: Who wants it, for the log.
            reason: Why, for the log.

        Raises: ConfigurationError: fewer than one. Unsupported: this pool cannot; names those that can.
        """
        if slots < 1:
            raise ConfigurationError(f"A pool has at least one slot, not {slots}.")
        if not isinstance(self._pool, Resizes):
            raise unsupported("resizing", self._name, "resizes")
        with self._resizing:
            before = self._pool.concurrency
            if slots == before:
                return
            self._pool.resize(slots)
            self._prefetch.slots = slots
            self._inflight.wake()
        logger.info(
            "%s: %d -> %d slots%s",
            who or f"pool {self._name}",
            before,
            slots,
            f": {reason}" if reason else "",
            extra={"event": "pool_resized", "before": before, "slots": slots, "reason": reason},
        )

    @property
    def slots(self) -> int:
        """How many there are."""
        return self._pool.concurrency

    def state(self) -> list[RunState]:
        """Return every task that runs now, the one that began first first."""
        place = self._pool.place if isinstance(self._pool, Places) else lambda _: None
        return [
            RunState(
                id=held.request.id,
                task=held.request.task,
                queue=held.request.queue,
                seconds=seconds,
                place=place(held.request.key),
            )
            for held, seconds in self._inflight.runs()
        ]


def _signal_name(text: str) -> str:
    """Return the name of a signal without its SIG.

    Raises: ConfigurationError: there is none of that name.
    """
    name = text.upper().removeprefix("SIG")
    known = [each.name.removeprefix("SIG") for each in signals.Signals]
    if name not in known:
        raise ConfigurationError(f"No signal {text!r}.{nearest(name, known)}")
    return name
