"""Moments of the machine's monotonic clock, as they are stored.

What lasts `seconds` is stored with the moment at which it ends. The clock begins anew when the machine does, so what
seems to have begun in the future is of before, and over.
"""

from __future__ import annotations

from typing import Final

__all__ = ["latest_start"]

_TOLERANCE_SECONDS: Final = 5.0


def latest_start(now: float) -> float:
    """Return the latest moment at which something that is alive now can seem to have begun.

    That is a little later than now: a moment minus its duration is rounded, and another process may have looked at the
    clock after us and written before.
    """
    return now + _TOLERANCE_SECONDS
