"""The lease keeper: renews, from a thread of its own, the one lease that covers all this worker holds.

A lease that lapsed (the process was stopped, the store unreachable, for longer than it lasts) cannot be mended: the
messages are somebody else's. What had not started is handed back, which the broker refuses for what is lost already;
what runs goes on, and its verdict will be refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celeriac import events
from celeriac.errors import StoreError
from celeriac.spi.transport import Leases

__all__ = ["LeaseKeeper"]

logger: logging.Logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews every third of `lease_seconds`, more often while renewing fails.

    Args:
        on_lapse: Called when the lease had lapsed and a new one is in force.
        on_lost: Called with the error when it could not be renewed before it must have lapsed.
    """

    def __init__(
        self, leases: Leases, *, on_lapse: Callable[[], None], on_lost: Callable[[BaseException], None], sender: object
    ) -> None:
        self.lapses: int = 0
        self._leases = leases
        self._on_lapse = on_lapse
        self._on_lost = on_lost
        self._sender = sender
        self._holds = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="celeriac-leases", daemon=True)

    def start(self, *, holds: bool = False) -> None:
        """Start the thread; with `holds`, which says that something is held already, it renews at once."""
        self._holds = holds
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Renew no more; call it when nothing is held, or when the connection is gone."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        interval = self._leases.lease_seconds / 3
        failures = 0
        wait = 0.0 if self._holds else interval
        while not self._stopping.wait(wait):
            try:
                # Three tries of half an interval, a quarter apart, end before the lease does.
                kept = self._leases.renew(timeout=interval / 2)
            except StoreError as error:
                failures += 1
                logger.warning("lease not renewed: %s", error, extra={"event": "renew_failed", "failures": failures})
                if failures >= 3:
                    self._on_lost(error)
                    return
                wait = interval / 4
                continue
            except Exception as error:
                # Without a lease all that is held would run twice: better a new connection.
                logger.exception("lease keeper failed", extra={"event": "internal_error"})
                self._on_lost(error)
                return
            failures = 0
            wait = interval
            if not kept:
                self._lapsed()

    def _lapsed(self) -> None:
        self.lapses += 1
        logger.error(
            "the lease had lapsed: what this worker held is taken over by others",
            extra={"event": "lease_lost", "lapses": self.lapses},
        )
        self._on_lapse()
        if events.lease_lost.receivers:
            events.lease_lost.send(self._sender, held=None)
