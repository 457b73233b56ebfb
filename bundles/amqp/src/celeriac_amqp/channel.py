"""A channel of our own: opened, asked, closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from celeriac_amqp.failures import ChannelClosed, DeadlineExceeded, LinkLost
from celeriac_amqp.frames import CLOSE, CLOSED, method
from celeriac_amqp.parser import Event

if TYPE_CHECKING:
    from celeriac_amqp.link import Link

__all__ = ["Channel"]

_OPEN: Final = 20 << 16 | 10
_OPENED: Final = 20 << 16 | 11


class Channel:
    """A channel whose frames py-amqp never sees. Subclasses take what the server sends by itself in `pushed`."""

    def __init__(self, link: Link) -> None:
        self.link: Link = link
        self.number: int = 0
        self.closed: ChannelClosed | None = None
        """Why the server closed it."""
        self._answers: dict[int, bytes] = {}

    def open(self, end: float) -> None:
        """Open it before the moment `end`. Raises: LinkLost. DeadlineExceeded. ChannelClosed."""
        self.number = self.link.attach(self)
        self.call(method(self.number, _OPEN, b"\0"), _OPENED, end)

    def call(self, frames: bytes, answer: int, end: float) -> bytes:
        """Send methods and return the arguments of the last one's answer. Only one thread calls at a time."""
        answers = self._answers
        answers.pop(answer, None)
        self.link.write(frames, end)
        if not self.link.wait(lambda: answer in answers or self.closed is not None, end):
            raise DeadlineExceeded(f"{self.link.location.label} did not answer in time", sent=True)
        if self.closed is not None:
            raise ChannelClosed(self.closed.code, self.closed.reason)
        return answers.pop(answer)

    def arrived(self, event: Event) -> None:
        """Take what the server sent; called by the thread that reads."""
        number = event[1]
        if number == CLOSE:
            arguments = event[2]
            reason = arguments[3 : 3 + arguments[2]].decode("utf-8", "replace")
            self.link.post(method(self.number, CLOSED))
            self.link.detach(self)
            self.closed = ChannelClosed(int.from_bytes(arguments[:2], "big"), reason)
            self.ended()
        elif not self.pushed(event):
            self._answers[number] = event[2]

    def pushed(self, event: Event) -> bool:
        """Take what is not an answer; return whether it was that."""
        return False

    def ended(self) -> None:
        """Learn that the server closed the channel."""

    def close(self, end: float) -> None:
        """Close it; what it held returns to its queues. Nothing is raised: a lost link has done it already."""
        if self.closed is None and self.number:
            try:
                self.call(method(self.number, CLOSE, b"\0\xc8\0\0\0\0\0"), CLOSED, end)
            except (LinkLost, DeadlineExceeded, ChannelClosed):
                return
            self.link.detach(self)
            self.closed = ChannelClosed(200, "closed here")
