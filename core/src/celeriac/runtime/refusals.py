"""Refuse what the chosen pool cannot do, by name and with the pools that can, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.errors import Unsupported
from celeriac.kernel import plugins

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.spi.pool import PoolCapabilities

__all__ = ["refuse_what_pool_lacks", "unsupported"]

_SETTINGS = {
    "task_time_limit": "hard_limits",
    "task_soft_time_limit": "soft_limits",
    "worker_max_tasks_per_child": "recycles",
    "worker_max_memory_per_child": "recycles",
}
"""Settings that only some pools can keep to, and the capability they need."""

_OPTIONS = {"time_limit": "hard_limits", "soft_time_limit": "soft_limits"}
"""The same of tasks' options."""

MOST_NAMES = 5
"""How many tasks an error names."""


def refuse_what_pool_lacks(app: Celeriac, pool: str, capabilities: PoolCapabilities) -> None:
    """Check that a pool can do what the settings and the tasks of an app ask for.

    Raises: Unsupported: naming the setting or the tasks, and the pools that can.
    """
    for setting, capability in _SETTINGS.items():
        value = getattr(app.conf, setting)
        if value is not None and not getattr(capabilities, capability):
            raise unsupported(f"`{setting}` ({value:g})", pool, capability)
    for option, capability in _OPTIONS.items():
        if getattr(capabilities, capability):
            continue
        limited = sorted(name for name, task in app.tasks.items() if getattr(task, option))
        if limited:
            raise unsupported(f"`{option}` (set on {', '.join(limited[:MOST_NAMES])})", pool, capability)


def unsupported(what: str, pool: str, capability: str) -> Unsupported:
    """Return the error for a pool that lacks a capability, naming the installed pools that have it."""
    able = [
        plugin.name
        for plugin in plugins.installed("pool")
        if plugin.declaration is not None and getattr(plugin.declaration.capabilities, capability, False)
    ]
    return Unsupported(what, f"The pool {pool!r}", able)
