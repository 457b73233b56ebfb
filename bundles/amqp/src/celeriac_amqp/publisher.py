"""Publishing with confirms."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final

from celeriac_amqp.channel import Channel
from celeriac_amqp.codec import Composes
from celeriac_amqp.failures import ChannelClosed, DeadlineExceeded, Nacked
from celeriac_amqp.frames import ACK, NACK, RETURN, Outgoing, method, properties_of
from celeriac_amqp.link import Link
from celeriac_amqp.parser import Event
from celeriac_amqp.tables import BadTable, Reader

__all__ = ["Publisher"]

_CONFIRM: Final = 85 << 16 | 10
_CONFIRMED: Final = 85 << 16 | 11


class _Batch:
    """Messages of one call: which numbers they have on the channel, and what the server said of them.

    Those before `low` are confirmed; of the others, those in `open` are not.
    """

    __slots__ = ("_places", "first", "last", "low", "messages", "nacked", "open", "returned")

    def __init__(self, messages: Sequence[Outgoing], first: int) -> None:
        self.messages = messages
        self.first = self.low = first
        self.last = first + len(messages) - 1
        self.open: set[int] = set(range(first, self.last + 1))
        self.nacked: list[int] = []
        self.returned: list[int] = []
        self._places: dict[tuple[str, str, str | None, str | None, bytes], deque[int]] | None = None

    def confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        """Learn that one message, or all up to it, were taken or not."""
        if multiple:
            tags = range(self.low, min(tag, self.last) + 1)
            self.low = max(self.low, tags.stop)
        else:
            tags = range(tag, tag + 1)
        if not taken:
            self.nacked.extend(each - self.first for each in tags if each in self.open)
        if tags.start <= self.first and tags.stop > self.last:
            self.open.clear()
        elif len(tags) == 1:
            self.open.discard(tags.start)
        else:
            self.open.difference_update(tags)

    def take_back(self, exchange: str, key: str, correlation: str | None, name: str | None, body: bytes) -> bool:
        """Learn that a message came back; return whether it can be one of these.

        A message comes back without its number. Those that look alike in all of this are the same to whoever
        publishes them again, so it does not matter which of them is meant.
        """
        if self._places is None:
            self._places = {}
            for index, each in enumerate(self.messages):
                properties = each.properties
                looks = (
                    each.exchange,
                    each.routing_key,
                    properties.correlation_id,
                    properties.message_id,
                    each.body,
                )
                self._places.setdefault(looks, deque()).append(index)
        places = self._places.get((exchange, key, correlation, name, body))
        if not places:
            return False
        self.returned.append(places.popleft())
        return True


class _Confirming(Channel):
    """A channel in confirm mode. `lock` is held by who numbers and sends, `books` by who changes the batches."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.next_tag = 1
        self.books = threading.Lock()
        self.batches: deque[_Batch] = deque()
        self.composer: Composes
        self._reader = Reader()

    def start(self, end: float) -> None:
        self.open(end)
        self.call(method(self.number, _CONFIRM, b"\0"), _CONFIRMED, end)
        self.composer = self.link.codec.composer(self.number, self.link.frame_max)

    def pushed(self, event: Event) -> bool:
        number, arguments = event[1], event[2]
        if number in {ACK, NACK}:
            tag, multiple = int.from_bytes(arguments[:8], "big"), bool(arguments[8] & 1)
            with self.books:
                self._confirmed(tag, multiple, number == ACK)
            return True
        if number == RETURN:
            self._returned(event)
            return True
        return False

    def _confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        done = 0
        for batch in self.batches:
            if batch.first > tag:
                break
            if multiple or batch.last >= tag:
                batch.confirm(tag, multiple, taken)
            if not batch.open:
                done += 1
        if done:
            self.batches = deque(batch for batch in self.batches if batch.open)

    def _returned(self, event: Event) -> None:
        arguments, head, body = event[2:]
        at = 3 + arguments[2]
        middle = at + 1 + arguments[at]
        exchange = arguments[at + 1 : middle].decode("utf-8", "surrogatepass")
        key = arguments[middle + 1 : middle + 1 + arguments[middle]].decode("utf-8", "surrogatepass")
        try:
            properties, _ = properties_of(head, self._reader)
        except BadTable:
            return
        with self.books:
            for batch in self.batches:
                if batch.take_back(exchange, key, properties.correlation_id, properties.message_id, body):
                    return


class Publisher:
    """Publishes over a channel of its own, from any number of threads.

    The server answers for every message, often for many at once, and says first if no queue was bound for it. One call
    is one write (in slices), and one wait for all its answers.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sending = threading.Lock()
        self._channel: _Confirming | None = None

    def publish(self, messages: Sequence[Outgoing], *, mandatory: bool, timeout: float) -> list[int]:
        """Publish messages and wait until the server has taken them all; return the indexes of the unroutable.

        Raises: Nacked: some were not taken. ChannelClosed: the server refused (no such exchange, too large).
            DeadlineExceeded, LinkLost: whether they were taken is not known (see its `sent`). BadTable: nothing sent.
        """
        if not messages:
            return []
        end = monotonic() + timeout
        channel, batch = self._sent(messages, mandatory, end, tracked=True)
        try:
            answered = self._link.wait(lambda: not batch.open or channel.closed is not None, end)
        finally:
            with channel.books:
                if batch in channel.batches:
                    channel.batches.remove(batch)
        if batch.open:
            if channel.closed is not None:
                raise ChannelClosed(channel.closed.code, channel.closed.reason)
            if not answered:
                raise DeadlineExceeded(self._late(len(batch.open), len(messages)), sent=True)
        if batch.nacked:
            raise Nacked(sorted(batch.nacked), sorted(batch.returned))
        return sorted(batch.returned)

    def send(self, messages: Sequence[Outgoing], *, timeout: float = 10.0) -> None:
        """Publish messages and do not wait for confirms; what is lost is lost in silence.

        Raises: LinkLost. DeadlineExceeded: they could not be sent in time. BadTable: nothing was sent.
        """
        if messages:
            self._sent(messages, False, monotonic() + timeout, tracked=False)

    def _sent(
        self, messages: Sequence[Outgoing], mandatory: bool, end: float, *, tracked: bool
    ) -> tuple[_Confirming, _Batch]:
        link = self._link
        if link.blocked is not None and not link.wait(lambda: link.blocked is None, end):
            raise DeadlineExceeded(self._late(len(messages), len(messages)), sent=False)
        if not self._sending.acquire(timeout=max(end - monotonic(), 0.0)):
            raise DeadlineExceeded("others were publishing all the time; nothing was sent", sent=False)
        try:
            channel = self._open_channel(end)
            # All of it before the first byte leaves: a message that cannot be written must not tear the batch.
            pieces = channel.composer.compose_all(messages, mandatory)
            batch = _Batch(messages if tracked else (), channel.next_tag)
            if tracked:
                with channel.books:
                    channel.batches.append(batch)
            channel.next_tag += len(messages)
            self._write(channel, pieces, batch, len(messages), end)
            return channel, batch
        finally:
            self._sending.release()

    def _open_channel(self, end: float) -> _Confirming:
        channel = self._channel
        if channel is None or channel.closed is not None:
            channel = _Confirming(self._link)
            try:
                channel.start(end)
            except DeadlineExceeded as late:
                raise DeadlineExceeded(str(late), sent=False) from late
            self._channel = channel
        return channel

    def _write(self, channel: _Confirming, pieces: list[bytes], batch: _Batch, count: int, end: float) -> None:
        link, started = self._link, False
        try:
            for piece in pieces:
                if started:
                    link.read()
                if channel.closed is not None:
                    return
                link.write(piece, end)
                started = True
        except DeadlineExceeded as late:
            # The numbers of what was not sent are lost with the channel.
            self._channel = None
            with channel.books:
                if batch in channel.batches:
                    channel.batches.remove(batch)
            raise DeadlineExceeded(self._late(len(batch.open), count), sent=started) from late

    def _late(self, count: int, of: int) -> str:
        label, reason = self._link.location.label, self._link.blocked
        if reason is not None:
            return (
                f"{label} takes no messages at present ({reason}), {count} of {of} are not confirmed; "
                "free its memory or disk space, or raise its limits"
            )
        return (
            f"{label} did not confirm {count} of {of} messages in time; "
            "is it overloaded, or does a quorum queue lack its majority?"
        )
