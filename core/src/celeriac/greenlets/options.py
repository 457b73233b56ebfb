"""The options that every pool of greenlets has."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.spi.declaration import Option

__all__ = ["OPTIONS"]

OPTIONS: Mapping[str, Option] = {
    "blocked_seconds": Option(
        type=float,
        default=3.0,
        doc="After how long a task that does not wait, and so holds up all others, is reported with its stack.",
    ),
    "stuck_limit": Option(
        type=int,
        default=None,
        doc="How many greenlets may be left of tasks that were given up and do not end before the worker retires; by "
        "default as many as there are slots, at least 100.",
    ),
}
