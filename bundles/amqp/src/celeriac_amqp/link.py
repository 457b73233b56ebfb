"""One connection to RabbitMQ, for any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from celeriac_amqp.location import Location

__all__ = ["Link"]

T = TypeVar("T")


class Link:
    """A connection: opened once, lost or closed once, never opened again."""

    def __init__(self, location: Location, *, name: str) -> None:
        self.location: Location = location
        self.name: str = name
        self.lost: bool = False
        self.blocked: str | None = None
        """Why the server takes nothing that is published at present; None when it does."""

    def open(self, timeout: float) -> None:
        """Connect to the first host that answers, within `timeout` seconds. Raises: LinkLost, with the fix."""
        raise NotImplementedError

    def close(self, timeout: float = 1.0) -> None:
        """End the connection; every thread that waits on it gets LinkLost. May be called again."""
        raise NotImplementedError

    def rare(self, function: Callable[[Any], T], *, timeout: float) -> T:
        """Return `function(channel)`, with py-amqp's channel for declaring and the like.

        Raises: amqp.ChannelError and kin: the server refused (404, 405, 406, 403). LinkLost. DeadlineExceeded.
        """
        raise NotImplementedError
