"""Replace the parts of the standard library that would wait for a whole thread. Importing this imports no eventlet."""

from __future__ import annotations

import sys
import warnings

__all__ = ["NEEDED", "is_patched", "patch", "unpatched"]

NEEDED: tuple[str, ...] = ("os", "select", "socket", "thread", "time")
"""What eventlet calls the modules without which tasks, or the worker itself, would hold up all greenlets."""


def patch() -> None:
    """Patch this process; the first thing a program must do. A second time does nothing."""
    if not is_patched():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is being retired is said once, in the log of the worker
            import eventlet  # noqa: PLC0415  listing plugins imports this module

        eventlet.monkey_patch()


def is_patched() -> bool:
    """Whether this process is patched, by whomever."""
    return not unpatched()


def unpatched() -> list[str]:
    """Return which of the modules that are needed are not patched."""
    patcher = sys.modules.get("eventlet.patcher")
    return [name for name in NEEDED if patcher is None or not patcher.is_monkey_patched(name)]
