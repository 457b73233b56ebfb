"""Refusals that name the plugins that can."""

from __future__ import annotations

from celeriac.errors import Unsupported
from celeriac.kernel import plugins

__all__ = ["able", "refuse_transport"]


def able(kind: str, capability: str) -> list[str]:
    """Return the names of the installed plugins of a kind that have a capability."""
    return [
        plugin.name
        for plugin in plugins.installed(kind)
        if plugin.declaration is not None and getattr(plugin.declaration.capabilities, capability, False)
    ]


def refuse_transport(what: str, capability: str, name: str) -> Unsupported:
    """Return the error for a transport that lacks a capability, naming those that have it."""
    return Unsupported(what, f"Broker {name!r}", able("transport", capability))
