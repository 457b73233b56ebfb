"""The rebalancer: what waits here behind long tasks is handed back, so that an idle worker can have it.

Prefetch goes by what tasks have taken so far; when a long one follows a thousand tiny ones, the rest of the batch would
wait for it. Handing back costs one round trip and does not raise the delivery count.
"""

from __future__ import annotations

import logging
import threading

from celeriac.runtime.inflight import Inflight
from celeriac.runtime.prefetch import Prefetch
from celeriac.runtime.settler import Settler
from celeriac.spi.pool import Pool

__all__ = ["Rebalancer"]

logger: logging.Logger = logging.getLogger(__name__)

STALL_SECONDS = 1.0
"""Nothing has started for this long while work waits: every slot is busy with something long."""


class Rebalancer:
    """Looks every half of `STALL_SECONDS`, from a thread of its own."""

    def __init__(self, pool: Pool, inflight: Inflight, prefetch: Prefetch, settler: Settler) -> None:
        self.handed_back: int = 0
        self._pool = pool
        self._inflight = inflight
        self._prefetch = prefetch
        self._settler = settler
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="celeriac-rebalance", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while not self._stopping.wait(STALL_SECONDS / 2):
            self.look()

    def look(self) -> None:
        """Hand back what has not started if every slot has been busy with long tasks."""
        inflight = self._inflight
        running = inflight.running
        if running < self._prefetch.slots or len(inflight) <= running or inflight.since_last_start() < STALL_SECONDS:
            return
        self._prefetch.stall()
        unstarted = self._pool.drain()
        if unstarted:
            self.handed_back += len(unstarted)
            self._settler.give_back(unstarted, started=False)
            logger.info(
                "%d tasks handed back: every slot is busy with long ones",
                len(unstarted),
                extra={"event": "handed_back", "count": len(unstarted)},
            )
