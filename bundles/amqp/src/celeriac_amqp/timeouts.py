"""What RabbitMQ was found to allow: for how long a delivery may stay unacknowledged.

AMQP 0-9-1 has no way to ask. A server says it as it closes a channel for it, and that is remembered in this process.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from celeriac_amqp.location import Location

__all__ = ["TIMEOUTS", "Timeouts"]

logger: logging.Logger = logging.getLogger(__name__)

_SAID: Final = re.compile(r"delivery acknowledgement on channel \d+ timed out\b.*?(\d+) ms")


class Timeouts:
    """The `consumer_timeout` of each server and virtual host that has told it, in seconds: the least of several.

    Source: RabbitMQ, `rabbit_channel.erl`: "delivery acknowledgement on channel 1 timed out. Timeout value used: 60000
    ms. This timeout value can be configured, see consumers doc guide to learn more".
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[object, str], float] = {}

    def learn(self, location: Location, reason: str) -> float | None:
        """Return the time-out that a channel was closed for, None if it was closed for something else."""
        found = _SAID.search(reason)
        if found is None:
            return None
        seconds, key = int(found[1]) / 1000, (location.nodes, location.virtual_host)
        with self._lock:
            before = self._known.get(key)
            self._known[key] = min(seconds, before or seconds)
        if before is None or seconds < before:
            logger.warning(
                "%s closes channels on which a message is held for longer than %g s. From now on, this process moves "
                "what it has held for %g s to a queue of its own, unless `hold_seconds` is 0; set that option to at "
                "most this time, or raise `consumer_timeout` of the server, so that no worker needs to find out",
                location.label,
                seconds,
                seconds / 2,
                extra={"event": "amqp_consumer_timeout", "seconds": seconds},
            )
        return seconds

    def known(self, location: Location) -> float | None:
        """Return what a server has told, in seconds; None if nothing."""
        return self._known.get((location.nodes, location.virtual_host))


TIMEOUTS: Final = Timeouts()
