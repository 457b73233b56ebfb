"""What `celeriac plugins` shows of this distribution; importing it imports no pool."""

from __future__ import annotations

from celeriac.spi.declaration import Declaration
from celeriac.spi.pool import PoolCapabilities

__all__ = ["CAPABILITIES", "pool"]

CAPABILITIES = PoolCapabilities(soft_limits=True, default_concurrency=1)

pool: Declaration = Declaration(
    spi_version=1,
    target="celeriac_solo.pool:SoloPool",
    summary="Runs tasks one after the other in the worker's main thread; the least overhead.",
    capabilities=CAPABILITIES,
)
