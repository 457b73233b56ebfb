"""How processes end, in words, and that they have."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

__all__ = ["await_end", "status_text"]

ORPHAN_SECONDS = 1.0
"""How long to wait for the children of a zygote that was killed to be gone as well."""


def status_text(status: int) -> str:
    """Say how a process has ended, given its exit code, or minus the signal."""
    if status >= 0:
        return f"exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"signal {-status} ({name}){hint}"


def await_end(pids: set[int]) -> None:
    """Wait until these processes, which are children of nobody here, have ended; kill them where the kernel did not."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.005)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
