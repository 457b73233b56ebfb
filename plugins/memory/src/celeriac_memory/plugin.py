"""What this distribution offers, said without importing any of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.spi.coordinator import CoordinatorCapabilities
from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.results import ResultCapabilities
from celeriac.spi.transport import TransportCapabilities

__all__ = ["coordinator", "results", "transport"]

LEVELS: Final = 256
"""Priorities 0 to 255, all there are in AMQP."""

TRANSPORT_OPTIONS: Final[Mapping[str, Option]] = {
    "lease_seconds": Option(type=float, default=30.0, doc="How long what a worker holds stays its own without renewal.")
}

TRANSPORT_CAPABILITIES: Final = TransportCapabilities(
    delays=True,
    priorities=LEVELS,
    exchanges=frozenset({"direct", "topic", "fanout"}),
    leases=True,
    commits=True,
    inspects=True,
    browses=True,
    sees_delayed=True,
    letters=True,
    durable=False,
    reach="process",
    guarantee="at least once, while the process lives",
)
RESULT_CAPABILITIES: Final = ResultCapabilities(waits=True, expires="sweep", joins=True, durable=False, reach="process")
COORDINATOR_CAPABILITIES: Final = CoordinatorCapabilities(durable=False, reach="process")

transport: Declaration = Declaration(
    spi_version=1,
    target="celeriac_memory.transport:MemoryTransport",
    summary="Messages inside one process, for tests.",
    capabilities=TRANSPORT_CAPABILITIES,
    options=TRANSPORT_OPTIONS,
)
results: Declaration = Declaration(
    spi_version=1,
    target="celeriac_memory.results:MemoryResults",
    summary="Results inside one process, for tests.",
    capabilities=RESULT_CAPABILITIES,
)
coordinator: Declaration = Declaration(
    spi_version=1,
    target="celeriac_memory.coordinator:MemoryCoordinator",
    summary="Leases, buckets and sets inside one process, for tests.",
    capabilities=COORDINATOR_CAPABILITIES,
)
