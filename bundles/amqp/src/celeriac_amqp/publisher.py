"""Publishing with confirms."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac_amqp.frames import Outgoing
from celeriac_amqp.link import Link

__all__ = ["Publisher"]


class Publisher:
    """Publishes over a channel of its own, from any number of threads."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def publish(self, messages: Sequence[Outgoing], *, mandatory: bool, timeout: float) -> list[int]:
        """Publish messages and wait until the server has taken them all; return the indexes of the unroutable.

        Raises: Nacked: some were not taken. ChannelClosed: the server refused (no such exchange, too large).
            DeadlineExceeded, LinkLost: whether they were taken is not known (see its `sent`). BadTable: nothing sent.
        """
        raise NotImplementedError

    def send(self, messages: Sequence[Outgoing], *, timeout: float = 10.0) -> None:
        """Publish messages and do not wait for confirms; what is lost is lost in silence."""
        raise NotImplementedError
