"""Mend what eventlet replaces in a way that the worker cannot live with."""

from __future__ import annotations

import threading
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it is being retired is said once, in the log of the worker
    import eventlet
    from eventlet.green import thread

__all__ = ["mend_join"]


def mend_join() -> None:
    """Make `Thread.join` return at its time-out: on CPython 3.13, that of eventlet 0.41 raises its Timeout there."""
    if not hasattr(threading, "_ThreadHandle") or hasattr(thread._ThreadHandle.join, "mended"):
        return
    join = thread._ThreadHandle.join

    def returning(handle: Any, timeout: float | None = None) -> None:
        with eventlet.Timeout(timeout, False):  # False: end the block, and say nothing
            join(handle)

    setattr(returning, "mended", True)  # noqa: B010  so that it is done once
    thread._ThreadHandle.join = returning
