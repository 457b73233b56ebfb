"""Settings of the broker, the result store and everything that belongs to no family."""

# No `from __future__ import annotations` here: `Family` reads the types themselves.

from datetime import tzinfo
from typing import Any

from celeriac.config.setting import Family, at_least, declare, matching

__all__ = ["BrokerSettings", "GeneralSettings", "ResultSettings"]


def _is_zone(value: str | tzinfo) -> bool:
    if isinstance(value, tzinfo):
        return True
    from zoneinfo import ZoneInfo  # noqa: PLC0415  a third of this package's import time, for one setting

    try:
        ZoneInfo(value)
    except (ValueError, OSError, LookupError):
        return False
    return True


class GeneralSettings(Family):
    """What belongs to no family."""

    plugins: tuple[str, ...] = declare((), "Names of plugins to activate that no URL or option chooses.")
    imports: tuple[str, ...] = declare((), "Modules that a worker imports for their tasks.")
    include: tuple[str, ...] = declare((), "More such modules: the ones given to the app or on the command line.")
    accept_content: tuple[str, ...] = declare(
        ("json",), "Serializers, by name or content type, whose messages are read; every other is refused."
    )
    result_accept_content: tuple[str, ...] | None = declare(None, "The same for results; None takes `accept_content`.")
    enable_utc: bool = declare(True, "Moments in messages are written in UTC, else in `timezone`.")
    timezone: str | tzinfo | None = declare(
        None,
        "IANA name of the zone in which naive datetimes are meant; None is UTC, or local time without `enable_utc`.",
        check=matching(_is_zone, "an IANA time zone, such as 'Europe/Berlin'"),
    )


class BrokerSettings(Family):
    """Where tasks wait."""

    broker_url: str | None = declare(
        None, "URL of the broker; None is the embedded one, sqlite:///.celeriac/celeriac.db."
    )
    broker_transport_options: dict[str, Any] = declare({}, "Options of the transport; `celeriac plugins` lists them.")
    broker_use_ssl: Any = declare(
        False,
        "TLS: true, or {option: value} of ca_certs, certfile, keyfile, cert_reqs, check_hostname.",
        check=matching(lambda value: isinstance(value, bool | dict), "true, false, or a mapping of options"),
    )
    broker_login_method: str | None = declare(None, "How to log in, where the transport asks; None is its own default.")
    broker_failover_strategy: str | None = declare(
        None, "In which order several hosts are tried: round-robin or shuffle; None is the transport's own default."
    )
    broker_heartbeat: float | None = declare(
        None,
        "Seconds of silence after which a connection counts as lost, 0 is never; None is the transport's own default.",
        check=at_least(0),
    )
    broker_native_delayed_delivery_queue_type: str | None = declare(
        None,
        "Type of the queues in which RabbitMQ keeps delayed messages; None is the transport's own default.",
        choices=("classic", "quorum"),
    )
    broker_connection_timeout: float = declare(
        4.0, "Seconds to open a connection to the broker.", check=at_least(0, beyond=True)
    )
    broker_timeout_seconds: float = declare(
        5.0, "Seconds any other call to the broker may take.", check=at_least(0, beyond=True)
    )
    broker_connection_retry: bool = declare(
        True, "A worker connects again when the connection is lost, or cannot be made."
    )
    broker_connection_max_retries: int | None = declare(
        None, "How often it tries before it gives up; None is for ever.", check=at_least(0)
    )
    broker_reconnect_max_seconds: float = declare(
        30.0, "Longest pause between two such tries, in seconds.", check=at_least(0, beyond=True)
    )


class ResultSettings(Family):
    """Where results are kept."""

    result_backend: str | None = declare(
        None, "URL of the result store, or 'disabled'; None is the embedded broker's own, and disabled for others."
    )
    result_backend_transport_options: dict[str, Any] = declare({}, "Options of the result store.")
    result_timeout_seconds: float = declare(
        5.0, "Seconds a call to the result store may take.", check=at_least(0, beyond=True)
    )
    result_expires: float | None = declare(
        86400.0, "Seconds a result is kept (or a timedelta); None is for ever.", check=at_least(0)
    )
    result_serializer: str = declare("json", "Name of the serializer of results.")
    result_extended: bool = declare(False, "Results also keep the task's name, arguments, worker, retries and queue.")
