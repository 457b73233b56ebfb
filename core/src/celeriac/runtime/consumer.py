"""The connection to the broker, as one state machine.

    connecting --boot ok--> consuming --lost--> waiting --back-off over--> connecting
         |                      |                  |
         +-----boot failed------|----------------->+          stop, from anywhere --> stopped

One `Generation` is one connection from its beginning to its end. It is built as a whole from the `consumer` blueprint
and taken down as a whole; what an older generation still reports is dropped.

The back-off grows with every loss, and begins anew only after a connection that lasted: one that breaks as soon as it
is made (a full disk, say) is no reason to hurry.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac import events
from celeriac.errors import StoreError
from celeriac.kernel.boot import Running, start
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Key
from celeriac.runtime.keys import GENERATION

if TYPE_CHECKING:
    from celeriac.runtime.worker import Worker

__all__ = ["Consumer", "Generation", "backoff"]

logger: logging.Logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.1


def backoff(attempt: int, longest: float) -> float:
    """Return seconds to wait before try `attempt` (from 0): doubling, with full jitter above a half.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """
    ceiling: float = min(longest, FIRST_RETRY_SECONDS * 2 ** min(attempt, 30))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311  spreads load, guards nothing


class Generation:
    """One connection: its number, and whether it is lost."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.error: BaseException | None = None
        self._ended = threading.Event()

    def lose(self, error: BaseException) -> None:
        """Report that the connection broke; the first report counts."""
        if not self._ended.is_set():
            self.error = error
            self._ended.set()

    def end(self) -> None:
        """End it without an error: the worker stops."""
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether it is lost or ended."""
        return self._ended.is_set()

    def wait(self) -> None:
        """Wait until it is lost or ended."""
        self._ended.wait()


class Consumer:
    """Keeps one generation of the `consumer` blueprint running, from a thread of its own.

    Args:
        values: What is given to the blueprint, besides the generation.
        longest_wait: The most seconds between two tries.
        attempts: How often to try in a row before giving up; None: for ever.
        on_given_up: Called with the last error when all attempts failed.
    """

    def __init__(
        self,
        worker: Worker,
        graph: Graph,
        values: dict[Key[Any], Any],
        *,
        longest_wait: float,
        attempts: int | None,
        timeout: float,
        on_given_up: Callable[[BaseException], None],
    ) -> None:
        self.connected: threading.Event = threading.Event()
        self.tried: threading.Event = threading.Event()
        """Set when the first generation runs, and when there will be none."""
        self._worker = worker
        self._graph = graph
        self._values = values
        self._longest_wait = longest_wait
        self._attempts = attempts
        self._timeout = timeout
        self._on_given_up = on_given_up
        self._stopping = threading.Event()
        self._generation: Generation | None = None
        self._running: Running | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="celeriac-consumer", daemon=True)

    def start(self) -> None:
        """Start the thread; `connected` is set when the first generation runs."""
        self._thread.start()

    def current(self, key: Key[Any]) -> Any:
        """Return a value of the running generation, or None while there is none."""
        with self._lock:
            return self._running.get(key) if self._running is not None and key in self._running else None

    def stop(self, timeout: float) -> None:
        """Take the connection down and end the thread."""
        self._stopping.set()
        self.tried.set()
        with self._lock:
            if self._generation is not None:
                self._generation.end()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        clock = self._worker.clock
        failures, losses, number = 0, 0, 0
        while not self._stopping.is_set():
            number += 1
            generation = Generation(number)
            error = self._connect(generation)
            if error is None:
                failures, began = 0, clock.monotonic()
                self._serve(generation)
                error = generation.error
                if clock.monotonic() - began > self._longest_wait:
                    losses = 0
            if error is None or self._stopping.is_set():
                continue
            failures += 1
            if self._hopeless(failures, error):
                self._on_given_up(error)
                self.tried.set()
                return
            self._pause(losses, generation, error)
            losses += 1

    def _hopeless(self, failures: int, error: BaseException) -> bool:
        """Whether to try no more: nothing but a store's failure before the first connection, or too many failures."""
        if not isinstance(error, StoreError) and not self.connected.is_set():
            return True
        if self._attempts is None or failures < self._attempts:
            return False
        logger.critical("gave up connecting after %d attempts", failures, extra={"event": "broker_given_up"})
        return True

    def _connect(self, generation: Generation) -> BaseException | None:
        """Boot the blueprint; return the error if that failed."""
        values = {**self._values, GENERATION: generation}
        try:
            running = start(self._graph, values, timeout=self._timeout, unwind_timeout=self._timeout)
        except Exception as error:  # noqa: BLE001  any failure is answered by another try, or by giving up
            return _cause(error)
        with self._lock:
            self._generation, self._running = generation, running
            if self._stopping.is_set():
                generation.end()
        self.connected.set()
        self.tried.set()
        logger.info("connected to the broker", extra={"event": "broker_connected", "generation": generation.number})
        if events.broker_connected.receivers:
            events.broker_connected.send(self._worker, generation=generation.number)
        return None

    def _serve(self, generation: Generation) -> None:
        """Wait for the end of a generation and take it down."""
        generation.wait()
        with self._lock:
            running, self._running, self._generation = self._running, None, None
        try:
            if running is not None:
                running.stop(self._timeout)
        except BaseExceptionGroup as group:
            level = logging.DEBUG if generation.error is not None else logging.WARNING
            logger.log(
                level, "connection not taken down cleanly: %s", group.exceptions, extra={"event": "unwind_failed"}
            )

    def _pause(self, attempt: int, generation: Generation, error: BaseException) -> None:
        delay = backoff(attempt, self._longest_wait)
        logger.warning(
            "broker not reachable: %s; next try in %.1f s",
            error,
            delay,
            extra={"event": "broker_lost", "generation": generation.number, "losses": attempt, "retry_in": delay},
        )
        if events.broker_lost.receivers:
            events.broker_lost.send(self._worker, generation=generation.number, error=error, retry_in=delay)
        self._stopping.wait(delay)


def _cause(error: BaseException) -> BaseException:
    """Return the first error of a group: the one that made the start fail."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
