"""What `celeriac plugins` shows of this distribution; importing it imports no pool."""

from __future__ import annotations

from celeriac.spi.declaration import Declaration
from celeriac.spi.pool import PoolCapabilities

__all__ = ["CAPABILITIES", "pool"]

CAPABILITIES = PoolCapabilities()

pool: Declaration = Declaration(
    spi_version=1,
    target="celeriac_threads.pool:ThreadsPool",
    summary="Runs tasks on threads of the worker's process; for tasks that wait rather than compute.",
    capabilities=CAPABILITIES,
)
