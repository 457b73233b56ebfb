"""How many messages to hold: about a tenth of a second of measured work for each slot, at least one task.

Tiny tasks come by the hundred, so that a round trip is shared; long ones are never hoarded while another worker is
idle. The measure is a moving average of run times; a run that is still going on counts with what it has taken so far.
"""

from __future__ import annotations

__all__ = ["LIMIT", "Prefetch"]

TARGET_SECONDS = 0.1
"""Work to hold for each slot: long against a round trip, short against a person's patience."""

LIMIT = 4000
"""The most to hold in all, whatever the tasks take: bounds memory, and what a crash would delay.

Taking, running and settling overlap. With half as many, no-op tasks on the embedded broker ran a seventh slower.
"""

MOST_BYTES = 64 * 1024 * 1024
"""The most to hold in bodies, as far as the last batch tells; one for each slot is held whatever its size."""

SMOOTHING = 0.1
"""Weight of the latest batch in the moving average."""


class Prefetch:
    """Decides the number of deliveries to hold for `slots` slots.

    Args:
        slots: How many tasks the pool runs at once.
        multiplier: None tunes itself; a number holds `slots * multiplier`; 0 holds `LIMIT`.
    """

    def __init__(self, slots: int, multiplier: int | None = None) -> None:
        self.slots = slots
        self.multiplier = multiplier
        self._average: float | None = None
        self._bytes_each = 0.0
        self._stalled = False

    def weigh(self, bodies_total: int, count: int) -> None:
        """Take in that the `count` messages of a batch had `bodies_total` bytes together."""
        self._bytes_each = bodies_total / count

    def observe(self, runtimes_total: float, count: int) -> None:
        """Take in `count` finished runs that took `runtimes_total` seconds together."""
        latest = runtimes_total / count
        if self._average is None:
            self._average = latest
        else:
            # A large batch says more than a single run: weigh it as if its runs had come one by one.
            weight = 1.0 - (1.0 - SMOOTHING) ** min(count, 50)
            self._average += weight * (latest - self._average)
        self._stalled = False

    def stall(self) -> None:
        """Hold no more than runs: every slot is busy with something long. Ends with the next finished run."""
        self._stalled = True

    @property
    def target(self) -> int:
        """How many deliveries to hold."""
        if self._stalled:
            return self.slots
        most = LIMIT if self._bytes_each * LIMIT <= MOST_BYTES else int(MOST_BYTES / self._bytes_each)
        return max(self.slots, min(most, self._by_time()))

    def _by_time(self) -> int:
        """Return how many to hold by what they take, whatever their size."""
        if self.multiplier is not None:
            return self.slots * self.multiplier or LIMIT
        if self._average is None:
            return self.slots
        per_slot = TARGET_SECONDS / self._average if self._average > 0 else LIMIT
        return min(LIMIT, int(self.slots * per_slot))
