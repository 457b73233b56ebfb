"""What this distribution brings, said without importing redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.spi.coordinator import CoordinatorCapabilities
from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.results import ResultCapabilities
from celeriac.spi.transport import TransportCapabilities

__all__ = [
    "CLUSTER_CAPABILITIES",
    "CONNECTION_OPTIONS",
    "COORDINATOR_CAPABILITIES",
    "RESULT_CAPABILITIES",
    "RESULT_OPTIONS",
    "TRANSPORT_CAPABILITIES",
    "TRANSPORT_OPTIONS",
    "cluster",
    "coordinator",
    "results",
    "transport",
]

FIX: Final = "Run: pip install 'celeriac[redis]'."

TRANSPORT_CAPABILITIES: Final = TransportCapabilities(
    delays=True,
    priorities=4,
    priority_step=3,
    exchanges=frozenset({"direct", "topic", "fanout"}),
    leases=True,
    commits=True,
    revocations=True,
    inspects=True,
    browses=True,
    sees_delayed=True,
    letters=True,
    durable=True,
    reach="network",
    guarantee="at least once; once while the worker lives",
)
CLUSTER_CAPABILITIES: Final = TransportCapabilities(
    delays=True,
    priorities=4,
    priority_step=3,
    exchanges=frozenset({"direct", "topic", "fanout"}),
    leases=True,
    inspects=True,
    browses=True,
    sees_delayed=True,
    letters=True,
    durable=True,
    reach="network",
    guarantee="at least once; once while the worker lives",
)
RESULT_CAPABILITIES: Final = ResultCapabilities(
    waits=True, expires="store", joins=True, chords=True, durable=True, reach="network"
)
COORDINATOR_CAPABILITIES: Final = CoordinatorCapabilities(durable=True, reach="network")

CONNECTION_OPTIONS: Final[Mapping[str, Option]] = {
    "virtual_host": Option(type=str, default="0", doc="The database number, for redis+socket://."),
    "ssl": Option(type=bool, default=False, doc="TLS also where the scheme does not say so, as with sentinel://."),
    "ssl_cert_reqs": Option(
        type=str, default="required", doc="Whether the server's certificate is checked: required, optional or none."
    ),
    "ssl_check_hostname": Option(type=bool, default=True, doc="Whether it must be made out to the host in the URL."),
    "ssl_ca_certs": Option(type=str, default="", doc="File of the authorities that are trusted; empty: the system's."),
    "ssl_certfile": Option(type=str, default="", doc="File of the client's own certificate."),
    "ssl_keyfile": Option(type=str, default="", doc="File of the key to it."),
    "credential_provider": Option(
        type=object,
        default="",
        doc="A function, or its dotted name, that returns (user, password); asked anew for each connection.",
    ),
    "master_name": Option(type=str, default="", doc="Under which name the sentinels know the primary."),
    "sentinel_kwargs": Option(
        type=dict,
        default={},
        doc="redis-py's arguments for the connections to the sentinels: password, ssl and so on.",
    ),
    "min_other_sentinels": Option(type=int, default=0, doc="A sentinel that knows fewer others is not believed."),
    "client_name": Option(type=str, default="", doc="The name of the connections in CLIENT LIST."),
    "socket_connect_timeout": Option(type=float, default=5.0, doc="Seconds that connecting to one host may take."),
    "socket_keepalive": Option(type=bool, default=True, doc="Whether TCP finds out that the other end is gone."),
    "max_connections": Option(type=int, default=10, doc="How many connections are kept open while nobody uses them."),
    "global_keyprefix": Option(type=str, default="", doc="What every key begins with."),
    "allow_eviction": Option(
        type=bool, default=False, doc="Start although the server may drop keys when its memory is full."
    ),
}
TRANSPORT_OPTIONS: Final[Mapping[str, Option]] = {
    **CONNECTION_OPTIONS,
    "lease_seconds": Option(
        type=float, default=30.0, doc="How long a worker that stopped renewing keeps what it holds."
    ),
    "priority_steps": Option(
        type=str, default="0,3,6,9", doc="Which priorities have a list of their own; the others use the next lower one."
    ),
    "lowest_priority_first": Option(
        type=bool, default=False, doc="Serve priority 0 first and 9 last, as Celery does on Redis."
    ),
}
RESULT_OPTIONS: Final[Mapping[str, Option]] = {
    **CONNECTION_OPTIONS,
    "result_max_bytes": Option(type=int, default=64 << 20, doc="A larger result is refused; 0 is no limit."),
}

transport: Declaration = Declaration(
    spi_version=1,
    target="celeriac_redis.transport:RedisTransport",
    summary="Redis or Valkey: one server, or the one that sentinels name; queues shared with Celery's programs.",
    capabilities=TRANSPORT_CAPABILITIES,
    options=TRANSPORT_OPTIONS,
    fix=FIX,
)
cluster: Declaration = Declaration(
    spi_version=1,
    target="celeriac_redis.transport:RedisClusterTransport",
    summary="Redis Cluster: queues spread over servers; each is settled by itself, results are stored first.",
    capabilities=CLUSTER_CAPABILITIES,
    options=TRANSPORT_OPTIONS,
    fix=FIX,
)
results: Declaration = Declaration(
    spi_version=1,
    target="celeriac_redis.results:RedisResultStore",
    summary="Results in Redis or Valkey, pushed to who waits; in the broker's own, committed with the settlement.",
    capabilities=RESULT_CAPABILITIES,
    options=RESULT_OPTIONS,
    fix=FIX,
)
coordinator: Declaration = Declaration(
    spi_version=1,
    target="celeriac_redis.coordinator:RedisCoordinator",
    summary="Leases, token buckets, semaphores and expiring sets in Redis or Valkey.",
    capabilities=COORDINATOR_CAPABILITIES,
    options=CONNECTION_OPTIONS,
    fix=FIX,
)
