"""What this distribution brings, said without importing py-amqp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.results import ResultCapabilities
from celeriac.spi.transport import TransportCapabilities

__all__ = [
    "CONNECTION_OPTIONS",
    "RESULT_CAPABILITIES",
    "RESULT_OPTIONS",
    "TRANSPORT_CAPABILITIES",
    "TRANSPORT_OPTIONS",
    "results",
    "transport",
]

FIX: Final = "Run: pip install 'celeriac[amqp]'."

TRANSPORT_CAPABILITIES: Final = TransportCapabilities(
    delays=True,
    priorities=10,
    exchanges=frozenset({"direct", "topic", "fanout"}),
    inspects=True,
    letters=True,
    releases_first=False,
    durable=True,
    reach="network",
    guarantee="at least once; once while the worker lives",
)
RESULT_CAPABILITIES: Final = ResultCapabilities(waits=True, replies=True, durable=False, reach="caller")

CONNECTION_OPTIONS: Final[Mapping[str, Option]] = {
    "ssl": Option(type=bool, default=False, doc="TLS also where the scheme does not say so."),
    "ssl_cert_reqs": Option(
        type=str, default="required", doc="Whether the server's certificate is checked: required, optional or none."
    ),
    "ssl_check_hostname": Option(type=bool, default=True, doc="Whether it must be made out to the host in the URL."),
    "ssl_ca_certs": Option(type=str, default="", doc="File of the authorities that are trusted; empty: the system's."),
    "ssl_certfile": Option(type=str, default="", doc="File of the client's own certificate."),
    "ssl_keyfile": Option(type=str, default="", doc="File of the key to it."),
    "login_method": Option(type=str, default="PLAIN", doc="How to log in: PLAIN, AMQPLAIN, or EXTERNAL."),
    "failover_strategy": Option(
        type=str,
        default="round-robin",
        doc="In which order several hosts are tried: round-robin (as they are named) or shuffle.",
    ),
    "heartbeat": Option(
        type=float, default=60.0, doc="After how many seconds of silence a connection counts as lost; 0 is never."
    ),
    "connect_timeout": Option(type=float, default=5.0, doc="Seconds that connecting to one host may take."),
    "client_properties": Option(
        type=dict, default={}, doc="What the server shows of the connection besides its name and program."
    ),
}
TRANSPORT_OPTIONS: Final[Mapping[str, Option]] = {
    **CONNECTION_OPTIONS,
    "confirm_publish": Option(
        type=bool, default=True, doc="Accepted as in Celery, and always on: each message is confirmed by the server."
    ),
    "queue_type": Option(
        type=str, default="classic", doc="Type of queues whose arguments do not say: classic or quorum."
    ),
    "queue_max_priority": Option(
        type=int,
        default=0,
        doc="Highest priority of classic queues that do not say; 0: they keep the order of publishing.",
    ),
    "native_delayed_delivery_queue_type": Option(
        type=str, default="quorum", doc="Type of the queues in which delayed messages wait: classic or quorum."
    ),
    "hold_seconds": Option(
        type=float,
        default=25.0,
        doc="What a worker holds for so long moves to a queue of its own, and again after the same time, "
        "so that no `consumer_timeout` of the server applies; 0 is never.",
    ),
    "management_url": Option(
        type=str,
        default="",
        doc="Where the management plugin answers, as in http://user:password@host:15672; lists all queues.",
    ),
}
RESULT_OPTIONS: Final[Mapping[str, Option]] = {
    **CONNECTION_OPTIONS,
    "result_persistent": Option(
        type=bool, default=False, doc="Results are written to disk and confirmed before their task is acknowledged."
    ),
    "result_max_bytes": Option(type=int, default=16 << 20, doc="A larger result is refused; 0 is no limit."),
    "reply_queue_expires_seconds": Option(
        type=float, default=1800.0, doc="After how long without its client a reply queue is deleted."
    ),
}

transport: Declaration = Declaration(
    spi_version=1,
    target="celeriac_amqp.transport:AmqpTransport",
    summary="RabbitMQ: classic and quorum queues, shared with Celery's programs; a lost connection loses no message.",
    capabilities=TRANSPORT_CAPABILITIES,
    options=TRANSPORT_OPTIONS,
    fix=FIX,
)
results: Declaration = Declaration(
    spi_version=1,
    target="celeriac_amqp.results:RpcResults",
    summary="Results as messages straight to the process that asked for them, over RabbitMQ; nobody else reads them.",
    capabilities=RESULT_CAPABILITIES,
    options=RESULT_OPTIONS,
    fix=FIX,
)
