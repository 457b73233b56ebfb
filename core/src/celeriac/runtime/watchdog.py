"""The watchdog: a connection that gives nothing although work waits and slots are free is torn down.

What keeps such a connection alive is always a fault nobody thought of; a new one is cheap. Two looks in a row must
agree, an interval apart, so that a message which has just come is no reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celeriac.errors import StoreError, TransportLost

if TYPE_CHECKING:
    from celeriac.runtime.receiver import Receiver
    from celeriac.spi.transport import Inspects

__all__ = ["Watchdog"]

logger: logging.Logger = logging.getLogger(__name__)


class Watchdog:
    """Looks every `interval` seconds; 0 never looks."""

    def __init__(
        self,
        transport: Inspects,
        *,
        queues: Sequence[str],
        receiver: Receiver,
        has_room: Callable[[], bool],
        lose: Callable[[BaseException], None],
        interval: float,
        timeout: float,
    ) -> None:
        self._transport = transport
        self._queues = queues
        self._receiver = receiver
        self._has_room = has_room
        self._lose = lose
        self._interval = interval
        self._timeout = timeout
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="celeriac-watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if self._interval > 0:
            self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        suspicious: int | None = None
        while not self._stopping.wait(self._interval):
            received = self._receiver.batches
            if not self._stuck():
                suspicious = None
            elif suspicious == received:
                message = f"work waits and slots are free, but nothing came for {self._interval:g} s"
                logger.error("connection torn down: %s", message, extra={"event": "watchdog"})
                self._lose(TransportLost(message))
                return
            else:
                suspicious = received

    def _stuck(self) -> bool:
        if not self._has_room():
            return False
        try:
            return any(depth.waiting for depth in self._transport.depths(self._queues, timeout=self._timeout))
        except StoreError as error:
            self._lose(error)
            return False
