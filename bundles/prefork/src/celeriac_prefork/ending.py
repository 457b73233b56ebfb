"""End a process together with the one that made it, on the systems that can."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end now if that has happened already.

    Does nothing but the latter where there is no such call (outside Linux).
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  not needed elsewhere

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
