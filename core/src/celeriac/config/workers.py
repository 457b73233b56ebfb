"""Settings of the worker: its pool, how much it takes, how it stops, what it logs."""

# No `from __future__ import annotations` here: `Family` reads the types themselves.

from typing import Any

from celeriac.config.setting import Family, at_least, declare

__all__ = ["WorkerSettings"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class WorkerSettings(Family):
    """The worker."""

    worker_pool: str | None = declare(None, "Name of the pool; None is prefork where it is installed, else threads.")
    worker_pool_options: dict[str, Any] = declare({}, "Options of the pool; `celeriac plugins` lists them.")
    worker_concurrency: int | None = declare(
        None, "Slots of the pool; None is the pool's own choice, mostly the number of processors.", check=at_least(1)
    )
    worker_prefetch_multiplier: int | None = declare(
        None, "Messages taken per slot; None tunes itself to about 100 ms of work; 0 is no bound.", check=at_least(0)
    )
    worker_max_tasks_per_child: int | None = declare(
        None, "Tasks after which a child of the pool is replaced.", check=at_least(1), pool_needs="recycles"
    )
    worker_max_memory_per_child: int | None = declare(
        None,
        "Resident KiB above which a child of the pool is replaced after its task.",
        check=at_least(1),
        pool_needs="recycles",
    )
    worker_disable_rate_limits: bool = declare(False, "Rate limits of tasks are not applied.")
    worker_soft_shutdown_timeout: float = declare(
        0.0, "Seconds that a cold shutdown waits for what runs.", check=at_least(0)
    )
    worker_shutdown_timeout_seconds: float | None = declare(
        None, "Seconds a warm shutdown waits before it turns cold; None waits as long as tasks run.", check=at_least(0)
    )
    worker_watchdog_seconds: float = declare(
        60.0,
        "Seconds without progress, while work waits and slots are free, after which the broker is connected anew.",
        check=at_least(0, beyond=True),
    )
    worker_hijack_root_logger: bool = declare(True, "`celeriac worker` replaces the root logger's handlers.")
    worker_log_color: bool | None = declare(None, "Coloured log lines; None is on a terminal only.")
    worker_log_format: str = declare("[%(asctime)s: %(levelname)s/%(processName)s] %(message)s", "Format of log lines.")
    worker_task_log_format: str = declare(
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
        "Format of what tasks log.",
    )
    worker_redirect_stdouts: bool = declare(True, "What tasks print goes to the log.")
    worker_redirect_stdouts_level: str = declare("WARNING", "At which level.", choices=_LEVELS)
