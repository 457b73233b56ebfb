"""How a conversation with RabbitMQ can fail, told apart by what the caller can do about it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ChannelClosed", "DeadlineExceeded", "LinkLost", "Nacked", "QueueMissing"]


class LinkLost(Exception):
    """The connection is gone, and with it all that was held over it; open a new one.

    `code` is the server's reply code, 0 where it gave none; `reason` what it said, or what the system did.
    `permanent`: the same attempt would fail again: a wrong password, an unknown virtual host, a missing right.
    """

    def __init__(self, text: str, *, code: int = 0, reason: str = "", permanent: bool = False) -> None:
        super().__init__(text)
        self.code: int = code
        self.reason: str = reason or text
        self.permanent: bool = permanent


class DeadlineExceeded(Exception):
    """There was no answer in time. `sent`: the request may have taken effect; False: it has not."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent: bool = sent


class ChannelClosed(Exception):
    """The server refused a request and closed the channel with it; the connection stays.

    Whatever was published in the same moment and not confirmed may have been stored or not.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code: int = code
        self.reason: str = reason


class Nacked(Exception):
    """The server did not take some messages: their queue is full and rejects what is published, or it failed.

    `indexes`: their positions in what was published; `unroutable`: positions of what no queue was bound for. Every
    other message was taken.
    """

    def __init__(self, indexes: Sequence[int], unroutable: Sequence[int] = ()) -> None:
        super().__init__(
            f"RabbitMQ did not take {len(indexes)} of the messages: a queue is full and rejects them, or it failed"
        )
        self.indexes: list[int] = list(indexes)
        self.unroutable: list[int] = list(unroutable)


class QueueMissing(Exception):
    """A queue that is to be consumed does not exist, or no longer."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"the queue {queue!r} does not exist; it was deleted, or never declared")
        self.queue: str = queue
