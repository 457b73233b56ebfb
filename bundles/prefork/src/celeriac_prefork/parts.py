"""What a pool at work consists of."""

from __future__ import annotations

import threading

from msgspec import Struct

from celeriac.model.outcome import Outcome
from celeriac.spi.pool import PoolContext
from celeriac_prefork.brood import Brood
from celeriac_prefork.crew import Crew
from celeriac_prefork.dispatch import Dispatch, Run
from celeriac_prefork.frames import Frames
from celeriac_prefork.limits import Limits
from celeriac_prefork.slots import Board
from celeriac_prefork.spool import Spool

__all__ = ["Ending", "Parts"]

Ending = tuple[Run, Outcome | BaseException]
"""A run and how it ended: its outcome, or why it brought none."""


class Parts(Struct, frozen=True, kw_only=True):
    """What the pool consists of."""

    context: PoolContext
    lock: threading.Lock
    dispatch: Dispatch
    crew: Crew
    limits: Limits
    board: Board
    frames: Frames
    spool: Spool
    brood: Brood
