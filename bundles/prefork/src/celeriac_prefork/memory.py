"""Memory that the parent and its children share, and the one primitive by which they order what they write there.

There is no lock: every word is written by one side only. Words are eight bytes, aligned, and so written in one go.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading

__all__ = ["SharedFile", "barrier"]

_allocate = threading.Lock

GRANULE: int = max(mmap.ALLOCATIONGRANULARITY, 1 << 16)
"""Pieces begin at multiples of this: the largest page of the systems that Celeriac runs on."""


def barrier() -> None:
    """Keep every earlier read and write of shared memory before every later one, as other processes see them.

    A release and then an acquire of the same lock are a full barrier on every processor. The lock is a new one each
    time: one that threads shared might be found released by another, or by a process that was forked just then.
    """
    lock = _allocate()
    lock.acquire()
    lock.release()
    lock.acquire()


class SharedFile:
    """An unnamed file in memory, mapped piece by piece; processes share it by its descriptor."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor: int = _create() if descriptor is None else descriptor

    def grow(self, size: int) -> None:
        """Make it at least so many bytes large; the new ones are zero."""
        if os.fstat(self.descriptor).st_size < size:
            os.truncate(self.descriptor, size)

    def map(self, offset: int, size: int) -> mmap.mmap:
        """Map one piece of it."""
        return mmap.mmap(self.descriptor, size, offset=offset)

    def close(self) -> None:
        """Close the descriptor; what is mapped stays."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _create() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("celeriac-prefork", os.MFD_CLOEXEC)
    descriptor, path = tempfile.mkstemp(prefix="celeriac-prefork-")
    os.unlink(path)
    return descriptor
