"""What this distribution brings, said without importing sqlite3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.spi.coordinator import CoordinatorCapabilities
from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.results import ResultCapabilities
from celeriac.spi.transport import TransportCapabilities

__all__ = [
    "COORDINATOR_CAPABILITIES",
    "OPTIONS",
    "RESULT_CAPABILITIES",
    "TRANSPORT_CAPABILITIES",
    "TRANSPORT_OPTIONS",
    "coordinator",
    "results",
    "transport",
]

TRANSPORT_CAPABILITIES: Final = TransportCapabilities(
    delays=True,
    priorities=256,
    exchanges=frozenset({"direct", "topic", "fanout"}),
    leases=True,
    commits=True,
    inspects=True,
    browses=True,
    sees_delayed=True,
    letters=True,
    durable=True,
    reach="machine",
    guarantee="at least once; once while the worker lives",
)
RESULT_CAPABILITIES: Final = ResultCapabilities(waits=True, expires="sweep", joins=True, durable=True, reach="machine")
COORDINATOR_CAPABILITIES: Final = CoordinatorCapabilities(durable=True, reach="machine")

OPTIONS: Final[Mapping[str, Option]] = {
    "synchronous": Option(
        type=str, default="full", doc="When accepted means on disk: extra, full, normal (not after a power cut) or off."
    ),
    "file_mode": Option(
        type=str, default="", doc="Octal mode of a new database file, such as 600; empty is the umask."
    ),
    "poll_seconds": Option(
        type=float, default=1.0, doc="How often a waiting process looks by itself, in case a wake-up was lost."
    ),
    "max_bytes": Option(type=int, default=0, doc="Largest size of the database file; 0 is no limit."),
}
TRANSPORT_OPTIONS: Final[Mapping[str, Option]] = {
    **OPTIONS,
    "lease_seconds": Option(
        type=float, default=30.0, doc="How long a worker that stopped renewing keeps what it holds."
    ),
}

transport: Declaration = Declaration(
    spi_version=1,
    target="celeriac_sqlite.transport:SqliteTransport",
    summary="One SQLite database for all processes of a machine; nothing to install.",
    capabilities=TRANSPORT_CAPABILITIES,
    options=TRANSPORT_OPTIONS,
    fix="Install a Python that was built with the sqlite3 module.",
)
results: Declaration = Declaration(
    spi_version=1,
    target="celeriac_sqlite.results:SqliteResultStore",
    summary="Results in a SQLite database; in the broker's own, they are committed with the settlement.",
    capabilities=RESULT_CAPABILITIES,
    options=OPTIONS,
    fix=transport.fix,
)
coordinator: Declaration = Declaration(
    spi_version=1,
    target="celeriac_sqlite.coordinator:SqliteCoordinator",
    summary="Leases, token buckets, semaphores and expiring sets in a SQLite database.",
    capabilities=COORDINATOR_CAPABILITIES,
    options=OPTIONS,
    fix=transport.fix,
)
