"""What this distribution offers, said without importing the driver."""

from __future__ import annotations

from typing import Final

from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.results import ResultCapabilities

__all__ = ["results"]

OPTIONS: Final = {
    "prefix": Option(type=str, default="celery-task-meta-", doc="What every key begins with."),
}
CAPABILITIES: Final = ResultCapabilities(waits=False, expires="store", durable=False, reach="process")

results = Declaration(
    spi_version=1,
    target="celeriac_acme.results:AcmeResults",
    summary="Results in Acme.",
    capabilities=CAPABILITIES,
    options=OPTIONS,
    fix="Run: pip install 'celeriac[acme]'.",
)
