"""One slot: the shared memory between the parent and one child at a time.

    word  written by   is
    0     child        head of the ring of outcomes
    1     parent       its tail
    2     child        RUNNING: the number of the frame whose task runs; 0 between two
    3     child        BEGUN: when that task began, in nanoseconds of CLOCK_MONOTONIC
    4     child        READY: its process id, once it has started up
    8     parent       DOOMED: the number of a frame after which the child is to end
    9     parent       SOFT: the number of a frame whose soft limit is reached

    from byte 128      the frame that the child received last; the kernel writes it as it hands it over, so that it is
                       known which child has taken what, even if that child dies before its next instruction
    from byte 32 KiB   the ring of outcomes

Words that different processes write do not share a cache line. In front of all slots is the board: one word, whether
the parent sleeps and wants to be woken.
"""

from __future__ import annotations

import os
import struct

from celeriac_prefork.memory import GRANULE, SharedFile
from celeriac_prefork.ring import Ring

__all__ = ["FRAME_LIMIT", "Board", "Slot"]

AREA = 128
RING = 1 << 15
SIZE = GRANULE * -(-(5 << 16) // GRANULE)
"""Bytes of one slot."""
FRAME_LIMIT: int = RING - AREA
"""The largest frame that a child can receive."""

HEAD, TAIL, RUNNING, BEGUN, READY, DOOMED, SOFT = 0, 1, 2, 3, 4, 8, 9
_PAGE = 4096
_NUMBER = struct.Struct("<Q")


class Slot:
    """The mapping of one slot, in the parent or in a child.

    Maps the slot's piece of the file, which must be as large.
    """

    def __init__(self, file: SharedFile, index: int) -> None:
        self.index: int = index
        self._map = file.map(GRANULE + index * SIZE, SIZE)
        whole = memoryview(self._map)
        self.words: memoryview = whole[:AREA].cast("Q")
        self.area: memoryview = whole[AREA:RING]
        self.ring: Ring = Ring(self.words, whole[RING:], head=HEAD, tail=TAIL)

    @staticmethod
    def reserve(file: SharedFile, count: int) -> None:
        """Make the file large enough for so many slots."""
        file.grow(GRANULE + count * SIZE)

    @property
    def running(self) -> int:
        """The number of the frame whose task runs; 0 for none."""
        return int(self.words[RUNNING])

    @property
    def claimed(self) -> int:
        """The number of the frame that the child received last. While a child receives one it may be wrong."""
        return int(_NUMBER.unpack_from(self.area)[0])

    @property
    def ready(self) -> int:
        """The process id of the child, once it has started up."""
        return int(self.words[READY])

    def clear(self) -> None:
        """Make the slot ready for another child; what is in the ring stays."""
        for word in (RUNNING, BEGUN, READY, DOOMED, SOFT):
            self.words[word] = 0
        _NUMBER.pack_into(self.area, 0, 0)

    def warm(self) -> None:
        """Touch every page that the kernel will write frames to: then no page fault can come between."""
        for place in range(0, len(self.area), _PAGE):
            self.area[place] = self.area[place]

    def close(self) -> None:
        """Unmap it."""
        self.ring.release()
        self.words.release()
        self.area.release()
        self._map.close()


class Board:
    """The word in front of all slots."""

    def __init__(self, file: SharedFile) -> None:
        file.grow(GRANULE)
        self._map = file.map(0, os.sysconf("SC_PAGE_SIZE"))
        self.words: memoryview = memoryview(self._map).cast("Q")

    @property
    def sleeping(self) -> bool:
        """Whether the parent wants to be woken when an outcome comes."""
        return bool(self.words[0])

    @sleeping.setter
    def sleeping(self, sleeps: bool) -> None:
        self.words[0] = sleeps

    def close(self) -> None:
        """Unmap it."""
        self.words.release()
        self._map.close()
