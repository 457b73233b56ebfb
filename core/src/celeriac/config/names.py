"""What to say about a name that is no setting here but is one of Celery's.

Facts: the configuration reference of Celery 5 and its table of old names.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["hint", "successor"]

_BEAT = "The periodic scheduler is a plugin: install the one that provides it and add its name to `plugins`."
_EVENTS = "Monitoring events are a plugin: install the one that provides them and add its name to `plugins`."
_CONTROL = "Remote control is a plugin: install the one that provides it and add its name to `plugins`."
_STORE = "It belongs to a result store that is not installed or not chosen; set `result_backend` to its URL."
_URL = "Say it in `broker_url`."
_RESULT_URL = "Say it in `result_backend`, a URL, or in `result_backend_transport_options`."
_ALWAYS = "Nothing to set: calls to the result store are always tried again, with growing pauses."
_CANVAS = "Nothing to set: joins are counted by the result store, nobody polls or waits for them."
_FLAG = "Pass it to `celeriac worker` on the command line."
_GRAPH = "Write a boot step instead and add it to `app.steps`."
_REMOVE = "Nothing here works differently by it; remove it."

HINTS = {
    "beat_": _BEAT,
    "event_": _EVENTS,
    "events_": _EVENTS,
    "control_": _CONTROL,
    "broker_read_url": "Reading and writing use one broker: set `broker_url`.",
    "broker_write_url": "Reading and writing use one broker: set `broker_url`.",
    "broker_transport": _URL,
    "broker_host": _URL,
    "broker_port": _URL,
    "broker_user": _URL,
    "broker_password": _URL,
    "broker_vhost": _URL,
    "broker_connection_retry_on_startup": "Set `broker_connection_retry`, which counts at the start too.",
    "broker_channel_error_retry": "Nothing to set: a connection in doubt is always rebuilt as a whole.",
    "broker_heartbeat_checkrate": "Set `broker_heartbeat`; it is checked as often as it takes.",
    "broker_pool_limit": "Nothing to set: a process keeps one connection for publishing.",
    "broker_pool_acquire_timeout": "Set `broker_timeout_seconds`.",
    "cache_backend": _RESULT_URL,
    "cache_backend_options": _RESULT_URL,
    "cassandra_": _STORE,
    "s3_": _STORE,
    "azureblockblob_": _STORE,
    "gcs_": _STORE,
    "couchbase_": _STORE,
    "arangodb_": _STORE,
    "mongodb_": _STORE,
    "cosmosdbsql_": _STORE,
    "elasticsearch_": _STORE,
    "database_": _STORE,
    "dynamodb_": _STORE,
    "redis_": _RESULT_URL,
    "security_": "Message signing is a plugin: install the one that provides it and add its name to `plugins`.",
    "override_backends": "Result stores are chosen by the scheme of `result_backend`; write a plugin for a new one.",
    "result_backend_thread_safe": "Nothing to set: every result store is safe to share among threads.",
    "result_backend_always_retry": _ALWAYS,
    "result_backend_max_retries": _ALWAYS,
    "result_backend_max_sleep_between_retries_ms": _ALWAYS,
    "result_backend_base_sleep_between_retries_ms": _ALWAYS,
    "result_cache_max": "Nothing to set: a result is kept by the object that read it.",
    "result_chord_": _CANVAS,
    "result_compression": "Results are stored as they are; return less, or compress in the task.",
    "result_exchange": _REMOVE,
    "result_exchange_type": _REMOVE,
    "result_persistent": "Set it in `result_backend_transport_options` where the result store has it.",
    "task_acks_on_failure_or_timeout": "Set `task_acks_on_failure` and `task_acks_on_timeout`.",
    "task_allow_error_cb_on_chord_header": "Link the error callback to the header's tasks themselves.",
    "task_protocol": "Nothing to set: messages are read and written in protocol 2.",
    "task_remote_tracebacks": "Read `AsyncResult.traceback`.",
    "task_send_sent_event": _EVENTS,
    "worker_agent": _GRAPH,
    "worker_autoscaler": _GRAPH,
    "worker_cancel_long_running_tasks_on_connection_loss": (
        "Nothing to set: a late result of a task that was handed to another worker is refused by the broker."
    ),
    "worker_consumer": _GRAPH,
    "worker_deduplicate_successful_tasks": (
        "Nothing to set: a result that is SUCCESS is never replaced; make tasks that must not run twice idempotent."
    ),
    "worker_detect_quorum_queues": "Nothing to set: prefetch is counted for each consumer, as quorum queues ask.",
    "worker_direct": "Name a queue of the worker's own with `celeriac worker -Q`.",
    "worker_disable_prefetch": "Set `worker_prefetch_multiplier` to 1; a delayed task never takes a slot.",
    "worker_enable_prefetch_count_reduction": _REMOVE,
    "worker_enable_soft_shutdown_on_idle": "Nothing to set: delayed tasks wait in the broker, so an idle worker ends.",
    "worker_enable_remote_control": _CONTROL,
    "worker_eta_task_limit": "Nothing to set: delayed tasks wait in the broker, not in a worker.",
    "worker_lost_wait": _REMOVE,
    "worker_pool_putlocks": _REMOVE,
    "worker_pool_restarts": _CONTROL,
    "worker_proc_alive_timeout": _REMOVE,
    "worker_send_task_events": _EVENTS,
    "worker_state_db": "Nothing to set: revoked tasks are remembered by the coordinator.",
    "worker_timer": _GRAPH,
    "worker_timer_precision": _REMOVE,
    "worker_logfile": _FLAG,
    "worker_pidfile": _FLAG,
    "worker_uid": "Start the worker as that user; a service manager does it.",
    "worker_gid": "Start the worker as that group; a service manager does it.",
    "worker_umask": "Start the worker with that umask; a service manager does it.",
    "worker_executable": _REMOVE,
}
"""By name; an entry that ends in an underscore stands for every name that begins so."""

_OLD = {
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_LOADER": "",
}
"""Old names that do not follow the rule of `successor`."""

_PREFIXES = {
    "CELERYD_": ("", "worker_"),
    "CELERYBEAT_": ("beat_",),
    "CELERYEV_": ("events_",),
    "CELERY_": ("", "task_", "worker_"),
    "": ("",),
}


def successor(key: str, known: Collection[str]) -> str | None:
    """Return the new name of one of Celery's old upper-case names, None if `key` is none of them."""
    if key in _OLD:
        return _OLD[key] or None
    if key.upper() != key:
        return None
    for old, families in _PREFIXES.items():
        if not key.startswith(old):
            continue
        rest = key.removeprefix(old).lower()
        for family in families:
            name = family + rest
            if name in known or _advice(name):
                return name
    return None


def hint(key: str, known: Collection[str]) -> str:
    """Say what to do about `key`, which is no setting; empty when it is none of Celery's either.

    Args:
        key: The name as it was written.
        known: The names of all settings.
    """
    name = successor(key, known)
    if name is None:
        return _advice(key)
    if name in known:
        return f"Its name is {name!r} now."
    return f"Its name is {name!r} now. {_advice(name)}"


def _advice(name: str) -> str:
    if name in HINTS:
        return HINTS[name]
    return next((HINTS[start] for start in HINTS if start.endswith("_") and name.startswith(start)), "")
