"""Replace the parts of the standard library that would wait for a whole thread. Importing this imports no gevent."""

from __future__ import annotations

import sys

__all__ = ["NEEDED", "is_patched", "patch", "unpatched"]

NEEDED: tuple[str, ...] = ("os", "queue", "select", "signal", "socket", "ssl", "subprocess", "threading", "time")
"""The modules without which tasks, or the worker itself, would hold up all greenlets."""


def patch() -> None:
    """Patch this process; the first thing a program must do. A second time does nothing."""
    if not is_patched():
        from gevent import monkey  # noqa: PLC0415  listing plugins imports this module

        monkey.patch_all()


def is_patched() -> bool:
    """Whether this process is patched, by whomever."""
    return not unpatched()


def unpatched() -> list[str]:
    """Return which of the modules that are needed are not patched."""
    monkey = sys.modules.get("gevent.monkey")
    return [name for name in NEEDED if monkey is None or not monkey.is_module_patched(name)]
