"""What `celeriac plugins` shows of this distribution; importing it imports no pool."""

from __future__ import annotations

from collections.abc import Mapping

from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.pool import PoolCapabilities

__all__ = ["CAPABILITIES", "OPTIONS", "pool"]

CAPABILITIES = PoolCapabilities(soft_limits=True, hard_limits=True, terminates=True, resizes=True)

OPTIONS: Mapping[str, Option] = {
    "stuck_limit": Option(
        type=int,
        default=None,
        doc="Threads stuck in tasks that were given up, before the worker retires; by default as many as slots, at "
        "least 4.",
    ),
}

pool: Declaration = Declaration(
    spi_version=1,
    target="celeriac_threads.pool:ThreadsPool",
    summary="Runs tasks on threads of the worker's process; for tasks that wait rather than compute.",
    capabilities=CAPABILITIES,
    options=OPTIONS,
)
