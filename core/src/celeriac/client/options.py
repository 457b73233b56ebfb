"""The options of tasks and calls: their names, what belongs together, and which of Celery's have no counterpart."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from celeriac.errors import nearest

__all__ = [
    "ADDRESS_OPTIONS",
    "CALL_OPTIONS",
    "EXECUTION_OPTIONS",
    "FROM_SETTINGS",
    "check_call_options",
    "check_limits",
    "moment_of",
]

ADDRESS_OPTIONS = frozenset({"exchange", "exchange_type", "queue", "route_name", "router", "routing_key"})
"""Options that decide where a message goes."""

EXECUTION_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "exchange_type",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
)
"""Attributes of a task that are options of each of its calls."""

FROM_SETTINGS: Mapping[str, str] = {
    "rate_limit": "task_default_rate_limit",
    "serializer": "task_serializer",
    "compression": "task_compression",
    "priority": "task_default_priority",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "track_started": "task_track_started",
    "acks_late": "task_acks_late",
    "acks_on_failure": "task_acks_on_failure",
    "acks_on_timeout": "task_acks_on_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "max_deliveries": "task_max_deliveries",
    "ignore_result": "task_ignore_result",
    "store_eager_result": "task_store_eager_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
}
"""Options of a task that default to a setting. A task that says None, or nothing, has the setting's value."""

CALL_OPTIONS = (
    ADDRESS_OPTIONS
    | frozenset(EXECUTION_OPTIONS)
    | {
        "add_to_parent",
        "argsrepr",
        "chain",
        "chord",
        "countdown",
        "eta",
        "expiration",
        "group_id",
        "group_index",
        "headers",
        "ignore_result",
        "kwargsrepr",
        "link",
        "link_error",
        "origin",
        "parent_id",
        "properties",
        "replaced_task_nesting",
        "reply_to",
        "result_cls",
        "retries",
        "retry",
        "retry_policy",
        "root_id",
        "shadow",
        "stamped_headers",
        "task_id",
        "task_type",
        "timeout",
    }
)
"""Every option of `apply_async`. docs/reference/calling.md describes them."""

_CONNECTIONS = "The app opens, shares and reopens its connections itself."
_WITHOUT_COUNTERPART = {
    "connection": _CONNECTIONS,
    "producer": _CONNECTIONS,
    "publisher": _CONNECTIONS,
    "event_dispatcher": _CONNECTIONS,
    "declare": "List the queues in `task_queues`; they are declared before the first message goes there.",
    "mandatory": "Every message is: one that no queue takes raises Unroutable.",
    "immediate": "No broker supports it any more.",
    "confirm_timeout": "Use `timeout`: seconds until the broker must have accepted the message.",
    "soft_timeout": "Use `soft_time_limit`.",
    "group": "Use `group_id`.",
}


def check_call_options(options: Mapping[str, Any]) -> None:
    """Refuse options that nobody would read.

    Raises: TypeError: naming the nearest option, or what to do instead of one that Celery has.
    """
    if options.keys() <= CALL_OPTIONS:
        return
    stamps: Collection[str] = options.get("stamped_headers") or ()
    for name in options:
        if name in CALL_OPTIONS or name in stamps:
            continue
        hint = _WITHOUT_COUNTERPART.get(name)
        raise TypeError(f"apply_async() has no option {name!r}.{f' {hint}' if hint else nearest(name, CALL_OPTIONS)}")


def check_limits(hard: float | None, soft: float | None, name: str) -> None:
    """Raise ValueError if the soft limit could never be reached."""
    if hard is not None and soft is not None and soft > hard:
        raise ValueError(f"{name}: soft_time_limit ({soft:g} s) must not exceed time_limit ({hard:g} s).")


def moment_of(value: float | datetime | str, *, now: float, zone: tzinfo | None, option: str) -> datetime:
    """Return the moment an option means: seconds from now, a datetime (naive: in `zone`), or ISO 8601 text.

    Raises: ValueError: it is no moment that a message can carry.
    """
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
        else:
            return datetime.fromtimestamp(now + value, UTC)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone or UTC)
        moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise ValueError(f"Option {option!r}: {value!r} is no moment a message can carry ({error}).") from error
    return moment
