"""One lock for all processes and threads that write into a folder."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from celeriac.errors import DeadlineExceeded

__all__ = ["LOCK_NAME", "FolderLock"]

LOCK_NAME: Final = ".celeriac.lock"

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


class FolderLock:
    """A lock on a file of the folder. The operating system frees it when its process dies.

    The deadline is in real time, whatever clock the store is given: it bounds a wait for another program.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._threads = threading.Lock()

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock.

        Raises: DeadlineExceeded: somebody else had it all the time. OSError: the folder cannot be written.
        """
        deadline = time.monotonic() + timeout
        if not self._threads.acquire(timeout=max(0.0, timeout)):
            raise DeadlineExceeded(f"the lock {self._path}", timeout)
        try:
            # Opened anew each time: a descriptor that a fork has copied would share its lock with the child.
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                self._wait(handle, deadline, timeout)
                yield
            finally:
                os.close(handle)
        finally:
            self._threads.release()

    def _wait(self, handle: int, deadline: float, timeout: float) -> None:
        pause = _FIRST_PAUSE
        while not _try(handle):
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"the lock {self._path}", timeout)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


if sys.platform == "win32":
    import msvcrt

    def _try(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
