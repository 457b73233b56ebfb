"""A task message that has passed admission and waits for, or has, a slot of the pool."""

from __future__ import annotations

from msgspec import Struct

from celeriac.model.message import Message
from celeriac.model.protocol import TaskHeaders

__all__ = ["Request"]


class Request(Struct, frozen=True, kw_only=True, gc=False):
    """One run that is to happen. Plain data: it crosses process boundaries.

    `key` is unique among the runs of one worker process; `received` is `Clock.monotonic()` at admission. The limits are
    seconds from the start of the run, those of the call before those of the task; None is no limit.
    `headers` are the message's as admission checked them; None makes the executor check them itself.
    """

    key: int
    task: str
    id: str
    message: Message
    queue: str
    deliveries: int
    received: float
    soft_time_limit: float | None = None
    time_limit: float | None = None
    headers: TaskHeaders | None = None
