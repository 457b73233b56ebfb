"""How a worker stops: warm, soft or cold, by signal or by call; a second request goes one step further.

    TERM, INT     warm: take nothing more, hand back what has not started, wait for what runs
    INT again     as QUIT
    QUIT          soft, where `worker_soft_shutdown_timeout` is set: wait that long; then cold
    any again     cold: what still runs is handed back to its queue and abandoned

Source: the signals of Celery's worker. `REMAP_SIGTERM=SIGQUIT` makes TERM mean QUIT.

A signal handler only sends one byte to itself: whatever the main thread was doing, locks included, is not disturbed. It
is sent over a socket, because what reads it may be a greenlet, which must not hold up the others.
It is read from the moment the pool stands, for no thread may be before that; until
then a second signal means what it meant before, since nothing has been taken that could be lost. So does the third of
several that nobody reads for seconds: then a task on a pool of greenlets computes, and cannot be ended otherwise.
A process that a task forked has its own fate: there the signals mean what they meant before the worker took them over.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import Any

__all__ = ["Level", "Signals", "StopRequest"]


DEAF_SECONDS = 2.0
"""How long a signal is unheard before it is taken that nobody will hear the next one."""


class Level(IntEnum):
    """How urgent a stop is; a later request only raises it."""

    RUN = 0
    WARM = 1
    SOFT = 2
    COLD = 3


class StopRequest:
    """The level asked for, and a way to wait for it to rise."""

    def __init__(self) -> None:
        self._level = Level.RUN
        self._changed = threading.Condition()

    @property
    def level(self) -> Level:
        """The highest level asked for so far."""
        return self._level

    def ask(self, level: Level) -> None:
        """Ask for a stop; while one is under way, for the next step beyond it at least."""
        with self._changed:
            if self._level is not Level.RUN:
                level = max(level, Level(min(self._level + 1, Level.COLD)))
            self._level = max(self._level, level)
            self._changed.notify_all()

    def wait_above(self, level: Level, timeout: float | None = None) -> bool:
        """Wait until more than `level` was asked for; return False on timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: self._level > level, timeout)


class Signals:
    """Installs the signal handlers of a worker in the main thread, and calls `ask` from a thread of its own.

    The handlers come first, so that no signal is lost, and the thread, by `listen`, when there may be threads.

    Args:
        soft: Whether QUIT begins softly.
        on_signal: Called in a signal handler, after the request is on its way: must be safe there.
    """

    def __init__(
        self, ask: Callable[[Level, signal.Signals], None], *, soft: bool, on_signal: Callable[[], None]
    ) -> None:
        quit_level = Level.SOFT if soft else Level.COLD
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        self._levels = {signal.SIGTERM: quit_level if remapped else Level.WARM, signal.SIGINT: Level.WARM}
        if hasattr(signal, "SIGQUIT"):
            self._levels[signal.SIGQUIT] = quit_level
        self._ask = ask
        self._on_signal = on_signal
        self._previous: dict[int, Any] = {}
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._pid = os.getpid()
        self._listening = False
        self._unheard = 0
        self._unheard_since = 0.0

    def install(self) -> None:
        """Take over the signals. Only the main thread may."""
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        for number in self._levels:
            self._previous[number] = signal.signal(number, self._handle)

    def listen(self) -> None:
        """Pass on what came so far, and what comes. Does nothing where the signals were not taken over."""
        if self._reader is not None and not self._listening:
            self._listening = True
            threading.Thread(target=self._listen, args=(self._reader,), name="celeriac-signals", daemon=True).start()

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._writer is not None and self._reader is not None:
            self._writer.close()  # the listener reads the end and closes the other side
            if not self._listening:
                self._reader.close()
            self._writer = self._reader = None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # In a forked process the socket leads to the worker, which nobody has told anything.
        if os.getpid() != self._pid or self._is_deaf():
            signal.signal(number, self._previous[number])
            os.kill(os.getpid(), number)
            return
        try:
            if self._writer is not None:
                self._writer.send(bytes([number]))
        except OSError:
            return  # the buffer is full of requests, or gone: the worker is on its way out
        self._on_signal()

    def _is_deaf(self) -> bool:
        """Count one more signal; return whether nobody will hear it."""
        if not self._unheard:
            self._unheard_since = time.monotonic()
        self._unheard += 1
        if not self._listening:
            return self._unheard > 1
        return self._unheard > 2 and time.monotonic() - self._unheard_since > DEAF_SECONDS

    def _listen(self, reader: socket.socket) -> None:
        with reader:
            while data := reader.recv(1):
                self._unheard = 0
                number = signal.Signals(data[0])
                self._ask(self._levels[number], number)
