"""What `celeriac plugins` shows of this distribution; importing it imports no pool."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.pool import PoolCapabilities

__all__ = ["CAPABILITIES", "OPTIONS", "pool"]

CAPABILITIES = PoolCapabilities(
    soft_limits=True,
    hard_limits=True,
    terminates=True,
    resizes=True,
    coroutines=True,
    default_concurrency=100,
)

OPTIONS: Mapping[str, Option] = {
    "plain_threads": Option(
        type=int,
        default=None,
        doc="The most threads for tasks that are plain functions; by default processors + 4, at most 32.",
    ),
    "stuck_limit": Option(
        type=int,
        default=None,
        doc="Of those, how many may be stuck in tasks that were given up before the worker retires; at least 4 by "
        "default, else as many as there are.",
    ),
    "blocked_seconds": Option(
        type=float,
        default=1.0,
        doc="After how long a loop that does not answer is reported, with the place that blocks it.",
    ),
    "uvloop": Option(type=bool, default=True, doc="Run on uvloop where it is installed."),
}

pool: Declaration = Declaration(
    spi_version=1,
    target="celeriac_asyncio.pool:AsyncioPool",
    summary="Runs `async def` tasks side by side on one event loop, and plain functions on threads beside it.",
    capabilities=CAPABILITIES,
    options=OPTIONS,
)
