"""Between how many slots a pool may have."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Bounds", "parse_bounds"]

EXPECTED = "the most and the fewest slots, as in '10,2', or the most alone"


class Bounds(Struct, frozen=True):
    """The most slots and the fewest."""

    most: int
    fewest: int = 1

    def nearest(self, slots: int) -> int:
        """Return the allowed number that is nearest to `slots`."""
        return max(self.fewest, min(self.most, slots))


def parse_bounds(text: str) -> Bounds:
    """Read `MAX,MIN`, in either order as Celery takes it, or `MAX`; a pool has at least one slot.

    Raises: ValueError: it is neither.
    """
    numbers = sorted(int(part) for part in text.split(","))
    if len(numbers) > 2 or numbers[-1] < 1 or numbers[0] < 0:
        raise ValueError(f"{text!r} is not {EXPECTED}")
    return Bounds(numbers[-1], max(1, numbers[0]) if len(numbers) == 2 else 1)


def are_bounds(text: str) -> bool:
    """Whether `parse_bounds` can read a text."""
    try:
        parse_bounds(text)
    except ValueError:
        return False
    return True
