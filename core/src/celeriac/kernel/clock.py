"""Time, so that tests can hold it still.

Two clocks, because they answer different questions: `time` is the moment (what an ETA means), `monotonic` a
duration (what a lease or a deadline means) that no correction of the system's date can bend.
"""

from __future__ import annotations

import threading
import time as _time

__all__ = ["SYSTEM_CLOCK", "Clock"]


class Clock:
    """The machine's clocks. `celeriac.testing.VirtualClock` is the other one."""

    def time(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return _time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment in the past, the same for all processes of this machine."""
        return _time.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on `condition`, which the caller holds, at most `timeout` seconds; return False on timeout."""
        return condition.wait(timeout)

    def sleep(self, seconds: float) -> None:
        """Block this thread for `seconds`."""
        _time.sleep(seconds)


SYSTEM_CLOCK = Clock()
