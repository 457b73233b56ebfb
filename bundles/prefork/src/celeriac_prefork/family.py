"""What the zygote and the children do when they start: everything that the parent gives them, in one record."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from msgspec import Struct

from celeriac import events
from celeriac_prefork.child import Child, Wear, Work
from celeriac_prefork.ending import end_with_parent
from celeriac_prefork.forking import Forked, fork
from celeriac_prefork.frames import Frames
from celeriac_prefork.memory import SharedFile
from celeriac_prefork.signals import for_child
from celeriac_prefork.slots import Board, Slot
from celeriac_prefork.spool import Spool
from celeriac_prefork.zygote import Zygote

__all__ = ["Inheritance", "be_child", "be_zygote", "child_name"]


class Inheritance(Struct, frozen=True, kw_only=True):
    """What the parent leaves to the zygote, and the zygote to each child."""

    control: socket.socket | None
    """The zygote's end of the socket to the parent; None in a child."""
    source: socket.socket
    """The children's end of the socket that requests come from."""
    file: SharedFile
    spool: Spool
    wear: Wear


def child_name(slot: int) -> str:
    """Return the name of a slot's process, as it stands in the log."""
    return f"ForkPoolWorker-{slot + 1}"


def be_zygote(left: Inheritance, work: Callable[[], Work]) -> int:
    """Serve as the zygote, whose children are forked; return the exit code."""
    assert left.control is not None  # noqa: S101  narrows the type
    own = os.getpid()

    def launch(slot: int) -> Forked:
        def main() -> int:
            zygote.leave()
            return be_child(left, slot, own, work)

        return fork(main, child_name(slot))

    zygote = Zygote(left.control, launch, left.spool.remove)
    zygote.serve()
    return 0


def be_child(left: Inheritance, index: int, zygote: int, work: Callable[[], Work]) -> int:
    """Serve as the child of a slot; return the exit code."""
    end_with_parent(zygote)
    for_child()
    slot, board = Slot(left.file, index), Board(left.file)
    left.file.close()
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed()  # it has no hook of its own, and all children would draw the same numbers
    child = Child(slot, board, left.source, frames=Frames(left.spool), work=work(), wear=left.wear)
    events.worker_process_init.send(None)
    code = child.serve()
    events.worker_process_shutdown.send(None, pid=os.getpid(), exitcode=code)
    return code
