"""What this distribution offers, said without importing any of it."""

from __future__ import annotations

from celeriac.spi.declaration import Declaration

__all__ = ["serializer"]

serializer: Declaration = Declaration(
    spi_version=1,
    target="celeriac_json.serializer:JsonSerializer",
    summary="JSON, with dates, decimals, UUIDs and bytes as Celery marks them.",
)
