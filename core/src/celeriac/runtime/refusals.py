"""Refuse what the chosen pool cannot do, by name and with the pools that can, before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.errors import Unsupported
from celeriac.kernel import plugins

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.spi.pool import PoolCapabilities

__all__ = ["refuse_what_pool_lacks", "unsupported"]

_OPTIONS = {"time_limit": "hard_limits", "soft_time_limit": "soft_limits"}
"""Options of tasks that only some pools can keep to, and the capability they need; settings say so themselves."""

MOST_NAMES = 5
"""How many tasks an error names."""


def refuse_what_pool_lacks(app: Celeriac, pool: str, capabilities: PoolCapabilities) -> None:
    """Check that a pool can do what the settings and the tasks of an app ask for.

    Raises: Unsupported: naming the setting or the tasks, and the pools that can.
    """
    for setting in app.conf.known:
        value = app.conf[setting.name] if setting.pool_needs else None
        if value is not None and not getattr(capabilities, setting.pool_needs):
            shown = f"{value:g}" if isinstance(value, int | float) else value
            raise unsupported(f"`{setting.name}` ({shown})", pool, setting.pool_needs)
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
