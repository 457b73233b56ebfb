"""How often tasks ran in this process, and when: one small file per process, written through memory.

One `hit` costs about half a microsecond, so that the probe does not measure itself. Format: count (int64), first and
last moment (float64, the machine's monotonic clock, which all its processes share).
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from pathlib import Path

LAYOUT = struct.Struct("<qdd")


class Probe:
    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}.probe"
        path.write_bytes(bytes(LAYOUT.size))
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), LAYOUT.size)
        self._lock = threading.Lock()
        self._count = 0
        self._first = 0.0

    def hit(self) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._count:
                self._first = now
            self._count += 1
            LAYOUT.pack_into(self._memory, 0, self._count, self._first, now)


_probes: list[Probe] = []
_making = threading.Lock()
"""Two threads that made the same file would cut it off under each other's memory."""


def hit() -> None:
    """Note one execution in the folder that BENCH_PROBE names."""
    if not _probes:
        with _making:
            if not _probes:
                _probes.append(Probe(Path(os.environ["BENCH_PROBE"])))
    _probes[0].hit()


def read(folder: Path) -> tuple[int, float, float]:
    """Return the executions of all processes: how many, the first and the last moment."""
    contents = [path.read_bytes() for path in folder.glob("*.probe")]
    found = [LAYOUT.unpack(each) for each in contents if len(each) == LAYOUT.size]  # others are being made
    found = [each for each in found if each[0]]
    if not found:
        return 0, 0.0, 0.0
    return sum(each[0] for each in found), min(each[1] for each in found), max(each[2] for each in found)
