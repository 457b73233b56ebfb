"""A queue of frames in shared memory, from one writer to one reader, without locks.

    head, tail   how many bytes were ever written, and ever read; each is written by its own side only
    frame        length (4 bytes), kind (4), number (8), then the payload, padded to a multiple of 8

A frame is never split: where it does not fit before the end of the memory, a frame of kind SKIP fills the rest. The
writer stores the frame, then the head: a writer that dies in between has written nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from celeriac_prefork.memory import barrier

__all__ = ["Broken", "Frame", "Ring"]

Frame = tuple[int, int, memoryview]
"""Kind, number, payload; the payload is valid until the next frame is asked for."""

SKIP = 0xFFFFFFFF
_HEADER = struct.Struct("<IIQ")
SIZE = _HEADER.size


class Broken(Exception):
    """What stands in the ring was not written by `append`: somebody has written over it."""


class Ring:
    """One side's view of the queue.

    Args:
        words: Eight-byte words; those at `head` and `tail` are the counters.
        room: The memory for frames; its length is a multiple of 8.
    """

    def __init__(self, words: memoryview, room: memoryview, *, head: int, tail: int) -> None:
        self._words = words
        self._room = room
        self._size = len(room)
        self._head = head
        self._tail = tail

    @property
    def largest(self) -> int:
        """The largest payload that is sure to fit once the reader has caught up."""
        return self._size // 2 - SIZE - 8

    def is_empty(self) -> bool:
        """Whether everything was read."""
        words = self._words
        return bool(words[self._head] == words[self._tail])

    def append(self, kind: int, number: int, payload: bytes) -> bool:
        """Write one frame; return False, having written nothing, if there is no room now."""
        words, room, size = self._words, self._room, self._size
        head = words[self._head]
        needed = SIZE + (len(payload) + 7 & ~7)
        place = head % size
        skipped = size - place if place + needed > size else 0
        if head + skipped + needed - words[self._tail] > size:
            return False
        if skipped:
            if skipped >= SIZE:
                _HEADER.pack_into(room, place, 0, SKIP, 0)
            place = 0
        _HEADER.pack_into(room, place, len(payload), kind, number)
        room[place + SIZE : place + SIZE + len(payload)] = payload
        barrier()
        words[self._head] = head + skipped + needed
        return True

    def take(self) -> Iterator[Frame]:
        """Read what is there; the memory of a frame is free again when the next one is asked for.

        Raises: Broken: it was damaged; nothing more can be read until `reset`.
        """
        for frame, end in self._unread():
            yield frame
            self._words[self._tail] = end

    def numbers(self) -> list[int]:
        """Return the numbers of the frames that wait, and leave them there.

        Raises: Broken.
        """
        return [frame[1] for frame, _ in self._unread()]

    def reset(self) -> None:
        """Throw away what waits. Only while there is no writer."""
        words = self._words
        words[self._head] = words[self._tail] = 0

    def release(self) -> None:
        """Give the memory free, so that it can be unmapped."""
        self._room.release()

    def _unread(self) -> Iterator[tuple[Frame, int]]:
        words, room, size = self._words, self._room, self._size
        tail, head = words[self._tail], words[self._head]
        barrier()
        if not 0 <= head - tail <= size or head % 8 or tail % 8:
            raise Broken(f"counters {tail} and {head}")
        while tail < head:
            place = tail % size
            if size - place < SIZE:
                tail += size - place
                continue
            length, kind, number = _HEADER.unpack_from(room, place)
            if kind == SKIP:
                tail += size - place
                continue
            end = place + SIZE + (length + 7 & ~7)
            if end > size or tail + end - place > head:
                raise Broken(f"a frame of {length} bytes at {place}")
            tail += end - place
            yield (kind, number, room[place + SIZE : place + SIZE + length]), tail
