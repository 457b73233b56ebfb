"""What this distribution offers, said without importing any of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.results import ResultCapabilities

__all__ = ["results"]

CAPABILITIES: Final = ResultCapabilities(waits=False, expires="sweep", durable=True, reach="machine")

OPTIONS: Final[Mapping[str, Option]] = {
    "fsync": Option(
        type=bool, default=False, doc="Wait until the disk has each record, so that a power cut loses none."
    )
}

results: Declaration = Declaration(
    spi_version=1,
    target="celeriac_filesystem.results:FilesystemResults",
    summary="One file per result in an existing folder, readable by Celery.",
    capabilities=CAPABILITIES,
    options=OPTIONS,
)
