"""The threads pool: as many slots as threads, in the worker's own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from celeriac.runtime.thread_slots import ThreadSlots
from celeriac.spi.declaration import Option
from celeriac.spi.pool import PoolCapabilities, PoolContext
from celeriac_threads.plugin import CAPABILITIES, OPTIONS

__all__ = ["ThreadsPool"]


class ThreadsPool(ThreadSlots):
    """Runs tasks on `concurrency` threads: all of it is `celeriac.runtime.thread_slots`."""

    capabilities: ClassVar[PoolCapabilities] = CAPABILITIES
    options: ClassVar[Mapping[str, Option]] = OPTIONS

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context, stuck_limit=context.options.get("stuck_limit"))
