"""Rate limits of one task in one worker: `10/s`, `100/m`, `1000/h`, or a number a second.

A task over its limit is put back with a delay and holds neither a slot nor room for others. Each one put back is
booked one interval after the last, so that they return spread out and not all at once.
"""

from __future__ import annotations

import re

from celeriac.errors import ConfigurationError
from celeriac.kernel.clock import Clock

__all__ = ["RateLimit", "parse_rate"]

_RATE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def parse_rate(rate: str | float | None) -> float | None:
    """Return a rate in runs a second, or None for no limit.

    Raises: ConfigurationError: it is none of the accepted forms.
    """
    if not rate:
        return None
    match = _RATE.match(str(rate))
    if match is None:
        raise ConfigurationError(f"Rate limit {rate!r} is none of 10, '10/s', '10/m', '10/h'.")
    return float(match[1]) / _SECONDS[match[2]] or None


class RateLimit:
    """A token bucket of capacity one, with a line of bookings behind it."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._interval = 1.0 / rate
        self._clock = clock
        self._free_at = clock.monotonic()
        self._booked_until = self._free_at

    def delay(self) -> float:
        """Return 0.0 if one may run now, and count it; else the seconds to put it back for."""
        now = self._clock.monotonic()
        if now >= self._free_at:
            # Lateness of up to half an interval is made up for, so that the rate holds; an idle spell is not.
            self._free_at = max(self._free_at, now - self._interval / 2) + self._interval
            return 0.0
        self._booked_until = max(self._booked_until, self._free_at) + self._interval
        return self._booked_until - self._interval - now
