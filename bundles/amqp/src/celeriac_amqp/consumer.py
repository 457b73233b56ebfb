"""Consuming and acknowledging."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from celeriac_amqp.frames import Incoming
from celeriac_amqp.link import Link

__all__ = ["Consumer"]


class Consumer:
    """Consumes queues over a channel of its own. One thread takes at a time; any thread acknowledges.

    `missing(queue)` is called in the thread that takes when a queue does not exist (any more) and is to declare it;
    without it the take raises QueueMissing.
    """

    def __init__(self, link: Link, *, missing: Callable[[str], object] | None = None) -> None:
        self._link = link
        self._missing = missing

    def take(self, queues: Sequence[str], *, limit: int, timeout: float) -> list[Incoming]:
        """Return up to `limit` messages, waiting at most `timeout` seconds for the first; earlier queues first.

        Raises: LinkLost: all that was held is gone, its `reason` says why. QueueMissing.
        """
        raise NotImplementedError

    def ack(self, tags: Collection[int]) -> None:
        """Acknowledge messages in one write, without an answer; tags that are not held are passed over."""
        raise NotImplementedError

    def holds(self, tag: int) -> bool:
        """Whether a message was taken here and not acknowledged yet."""
        raise NotImplementedError

    def surplus(self) -> list[Incoming]:
        """Return what was pushed and no take has asked for, which is then held as if it had been taken."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make the `take` that waits return at once, or the next one if none waits."""
        raise NotImplementedError
