"""What `celeriac plugins` shows of this distribution; importing it does not import gevent."""

from __future__ import annotations

from celeriac.greenlets.options import OPTIONS
from celeriac.spi.declaration import Declaration
from celeriac.spi.pool import PoolCapabilities

__all__ = ["CAPABILITIES", "pool"]

CAPABILITIES = PoolCapabilities(
    soft_limits=True,
    hard_limits=True,
    terminates=True,
    resizes=True,
    coroutines=True,
    default_concurrency=100,
)

pool: Declaration = Declaration(
    spi_version=1,
    target="celeriac_gevent.pool:GeventPool",
    summary="Runs tasks on greenlets of gevent; for a thousand tasks that wait.",
    capabilities=CAPABILITIES,
    options=OPTIONS,
    fix="Run: pip install 'celeriac[gevent]'.",
)
