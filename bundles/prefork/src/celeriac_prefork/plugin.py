"""What `celeriac plugins` shows of this distribution; importing it imports no pool and no billiard."""

from __future__ import annotations

from celeriac.spi.declaration import Declaration
from celeriac.spi.pool import PoolCapabilities

__all__ = ["CAPABILITIES", "pool"]

CAPABILITIES = PoolCapabilities(
    soft_limits=True,
    hard_limits=True,
    terminates=True,
    resizes=True,
    recycles=True,
    processes=True,
    platforms="Linux",
)

pool: Declaration = Declaration(
    spi_version=1,
    target="celeriac_prefork.pool:PreforkPool",
    summary="Runs tasks in child processes, forked from a process without threads; for tasks that compute.",
    capabilities=CAPABILITIES,
    fix="Run: pip install 'celeriac[prefork]'.",
)
