"""The start method `spawn`: the zygote and each child are fresh interpreters that import the app anew.

Slower to start and larger than forked ones, for they share no memory; but nothing of the worker is in them, and no
library needs to survive a fork. What they are given beside three descriptors is written into the spool.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from celeriac.spi.pool import Rebuild
from celeriac_prefork.child import Wear, Work
from celeriac_prefork.family import Inheritance, be_child, child_name
from celeriac_prefork.memory import SharedFile
from celeriac_prefork.spool import Spool
from celeriac_prefork.zygote import Zygote

__all__ = ["Plan", "Spawned", "main", "spawn_zygote"]

LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
_PLAN = "plan"


class Plan(Struct, frozen=True, kw_only=True):
    """What the fresh processes of one pool need to know."""

    rebuild: Rebuild
    wear: Wear
    log_level: int


class Spawned:
    """A process that was spawned."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        """Reap it if it has ended; return its exit code, or minus the signal that ended it."""
        return self._process.poll()


def spawn_zygote(left: Inheritance, rebuild: Rebuild) -> Spawned:
    """Start a fresh zygote, whose children are fresh too.

    Raises: OSError: the system has no room for another process.
    """
    plan = Plan(rebuild=rebuild, wear=left.wear, log_level=logging.getLogger().level)
    Path(left.spool.path, _PLAN).write_bytes(pickle.dumps(plan))
    return _spawn(left, -1)


def _spawn(left: Inheritance, slot: int) -> Spawned:
    """Start the zygote (slot -1) or a child."""
    descriptors = [left.source.fileno(), left.file.descriptor]
    if slot < 0 and left.control is not None:
        descriptors.append(left.control.fileno())
    arguments = [left.spool.path, str(slot), str(os.getpid()), *map(str, descriptors)]
    command = [sys.executable, "-m", "celeriac_prefork.fresh", *arguments]
    return Spawned(subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL))  # noqa: S603  our own


def main(arguments: list[str]) -> int:
    """Be what the arguments say; return the exit code."""
    folder, slot, parent, *descriptors = arguments
    source, file, *control = map(int, descriptors)
    plan: Plan = pickle.loads(Path(folder, _PLAN).read_bytes())  # noqa: S301  the worker's own process wrote it
    left = Inheritance(
        control=socket.socket(fileno=control[0]) if control else None,
        source=socket.socket(fileno=source),
        file=SharedFile(file),
        spool=Spool(folder),
        wear=plan.wear,
    )
    for descriptor in (source, file):
        os.set_inheritable(descriptor, False)
    if left.control is not None:
        left.control.set_inheritable(False)
        Zygote(left.control, lambda number: _spawn(left, number), left.spool.remove).serve()
        return 0
    multiprocessing.current_process().name = child_name(int(slot))
    if plan.rebuild.set_up_log is None:
        logging.basicConfig(level=plan.log_level, format=LOG_FORMAT)
    return be_child(left, int(slot), int(parent), lambda: _work(plan.rebuild))


def _work(rebuild: Rebuild) -> Work:
    from celeriac.runtime.executor import rebuilt  # noqa: PLC0415  the zygote runs nothing and needs none of it

    executor = rebuilt(rebuild)
    return Work(
        execute=executor.execute, failed=executor.failed, aexecute=executor.aexecute, is_async=executor.is_async
    )
