"""What this distribution offers, said without importing any of it."""

from __future__ import annotations

from celeriac.spi.declaration import Declaration

__all__ = ["serializer"]

serializer: Declaration = Declaration(
    spi_version=1,
    target="celeriac_pickle.serializer:PickleSerializer",
    summary="Any Python object. Reading can run code: off unless named in `accept_content`.",
)
