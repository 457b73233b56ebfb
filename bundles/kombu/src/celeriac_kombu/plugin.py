"""What this distribution brings, said without importing kombu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from celeriac.spi.declaration import Declaration, Option
from celeriac.spi.transport import TransportCapabilities

__all__ = ["CAPABILITIES", "OPTIONS", "transport"]

CAPABILITIES: Final = TransportCapabilities(
    exchanges=frozenset({"direct", "topic", "fanout"}),
    releases_first=False,
    durable=True,
    reach="network",
    guarantee="that of kombu's transport: at least once, or at most once when a worker is killed",
)
"""The most that any of kombu's transports has; an opened one narrows it to what its own has."""

OPTIONS: Final[Mapping[str, Option]] = {
    "ssl": Option(type=object, default=False, doc="`ssl` of `kombu.Connection`: true, or a dictionary of TLS options."),
    "login_method": Option(
        type=str, default="", doc="`login_method` of `kombu.Connection`; empty: the transport's own."
    ),
    "polling_interval": Option(
        type=float, default=0.0, doc="Seconds between two looks for messages at most; 0: the transport's own."
    ),
    "*": Option(type=object, default=None, doc="Any other name is an option of kombu's transport, handed on as it is."),
}

transport: Declaration = Declaration(
    spi_version=1,
    target="celeriac_kombu.transport:KombuTransport",
    summary="Any transport of kombu, as kombu+<its URL>; queues shared with Celery's programs.",
    capabilities=CAPABILITIES,
    options=OPTIONS,
    fix="Run: pip install 'celeriac[kombu]'.",
)
