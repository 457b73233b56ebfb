"""Settings of tasks: how they are published, routed, run and settled."""

# No `from __future__ import annotations` here: `Family` reads the types themselves.

from typing import Any

from celeriac.config.setting import Family, at_least, declare, matching

__all__ = ["TaskSettings"]

_SECONDS = at_least(0, beyond=True)
_PRIORITY = matching(lambda value: 0 <= value <= 255, "0 to 255")


class TaskSettings(Family):
    """How tasks are published, routed, run and settled. Where a task has an option of the name, this is its default."""

    task_serializer: str = declare("json", "Name of the serializer of arguments.")
    task_compression: str | None = declare(
        None, "Compression of message bodies.", choices=("gzip", "zlib", "bzip2", "lzma")
    )
    task_max_body_bytes: int = declare(
        128 * 1024 * 1024, "Largest message body, in bytes, that is published or decoded.", check=at_least(1)
    )
    task_publish_retry: bool = declare(True, "Publishing is tried again when the broker cannot be reached.")
    task_publish_retry_policy: dict[str, Any] = declare(
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
        "How often, and the seconds between two tries.",
    )
    task_annotations: Any = declare(None, "Attributes to set on tasks: {name or '*': {attribute: value}}, or a list.")
    task_always_eager: bool = declare(False, "Tasks run at once in the caller; for tests.")
    task_eager_propagates: bool = declare(False, "What an eager task raises is raised at the caller.")
    task_store_eager_result: bool = declare(False, "Results of eager tasks are stored too.")

    task_queues: Any = declare(None, "Queues: a list of `Queue`s or names, or {name: options}; None: the default one.")
    task_routes: Any = declare(None, "Routers: {name or pattern: options}, a function, or a list of these.")
    task_create_missing_queues: bool = declare(True, "A queue that is not in `task_queues` is created when named.")
    task_create_missing_queue_type: str | None = declare(
        None,
        "Type of queues so created, on RabbitMQ; None is the transport's own default.",
        choices=("classic", "quorum"),
    )
    task_create_missing_queue_exchange_type: str | None = declare(
        None,
        "Type of their exchanges, whatever `task_default_exchange_type` is; None is direct.",
        choices=("direct", "topic", "fanout"),
    )
    task_default_queue: str = declare("celery", "The queue of tasks that no route sends elsewhere.")
    task_default_queue_type: str | None = declare(
        None,
        "Type of the default queue where `task_queues` names none, on RabbitMQ; None is the transport's own default.",
        choices=("classic", "quorum"),
    )
    task_default_exchange: Any = declare(
        None, "Exchange of queues without one, an `Exchange` or its name; None is named as the queue."
    )
    task_default_exchange_type: str = declare(
        "direct", "Type of exchanges without one.", choices=("direct", "topic", "fanout")
    )
    task_default_routing_key: str | None = declare(None, "Routing key of the default queue; None is its name.")
    task_default_delivery_mode: int | str = declare(
        2,
        "Whether messages are written to disk by brokers that ask: 2 (persistent) or 1 (transient).",
        choices=(1, 2, "persistent", "transient"),
    )
    task_default_priority: int | None = declare(None, "Priority of tasks without one, 0 the lowest.", check=_PRIORITY)
    task_queue_max_priority: int | None = declare(
        None, "Highest priority of queues that do not say, where the broker asks.", check=_PRIORITY
    )
    task_inherit_parent_priority: bool = declare(False, "Tasks called by a task take its priority.")

    task_acks_late: bool = declare(True, "Acknowledged when it has ended (at least once), else before (at most once).")
    task_acks_on_failure: bool = declare(True, "A task that raised is acknowledged; else it goes to the dead letters.")
    task_acks_on_timeout: bool = declare(True, "The same for a task that reached its hard time limit.")
    task_reject_on_worker_lost: bool = declare(
        True, "A task whose process died is delivered again, up to `task_max_deliveries`; else it has failed."
    )
    task_max_deliveries: int | None = declare(
        20, "A message delivered more often goes to the dead letters; None is without bound.", check=at_least(1)
    )
    task_revoke_expires_seconds: float = declare(
        30 * 86400.0, "Seconds that the revocation of a task is remembered.", check=_SECONDS
    )
    task_time_limit: float | None = declare(
        None, "Seconds after which a task is ended by force.", check=_SECONDS, pool_needs="hard_limits"
    )
    task_soft_time_limit: float | None = declare(
        None,
        "Seconds after which SoftTimeLimitExceeded is raised inside a task.",
        check=_SECONDS,
        pool_needs="soft_limits",
    )
    task_default_rate_limit: str | int | float | None = declare(
        None, "How often a task without a limit of its own may start in one worker: '10/s', '100/m', '5/h'."
    )
    task_ignore_result: bool = declare(False, "What tasks return is not stored.")
    task_store_errors_even_if_ignored: bool = declare(False, "Failures are stored also where results are ignored.")
    task_track_started: bool = declare(False, "The state STARTED is stored when a task begins.")
