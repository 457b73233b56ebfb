"""Consuming and acknowledging."""

from __future__ import annotations

import itertools
import struct
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

from celeriac_amqp.channel import Channel
from celeriac_amqp.failures import ChannelClosed, DeadlineExceeded, LinkLost, QueueMissing
from celeriac_amqp.frames import (
    CANCEL,
    CANCELLED,
    CONSUME,
    DELIVER,
    QOS,
    Incoming,
    acks,
    method,
    short,
)
from celeriac_amqp.link import Link
from celeriac_amqp.parser import Event
from celeriac_amqp.timeouts import TIMEOUTS

__all__ = ["Consumer"]

_CONSUMED: Final = 60 << 16 | 21
_QOS_SET: Final = 60 << 16 | 11
_ANSWER_SECONDS: Final = 15.0
_UNASKED_SECONDS: Final = 1.0
"""A queue that no take has named for so long is consumed no more."""
_LARGEST_WINDOW: Final = 65535
_tag = struct.Struct(">Q").unpack_from
_NOT_FOUND: Final = 404


class _Subscription:
    """A consumer of one queue. `window`: how many messages it may hold; `held`: how many it does, the waiting too.

    The thread that reads counts what is delivered, those that acknowledge count that.
    """

    __slots__ = ("asked", "delivered", "name", "queue", "settled", "waiting", "window")

    def __init__(self, queue: str, waiting: deque[Event]) -> None:
        self.queue = queue
        self.waiting = waiting
        self.name = b""
        self.window = 0
        self.delivered = 0
        self.settled = 0
        self.asked = 0.0

    @property
    def held(self) -> int:
        return self.delivered - self.settled


class _Consuming(Channel):
    """The channel: sorts what is delivered by the consumer that it is for."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.by_name: dict[bytes, _Subscription] = {}
        self.cancelled: deque[bytes] = deque()
        self.held: dict[int, _Subscription] = {}
        self.latest = 0
        self.count = 0
        """How many were delivered."""

    def pushed(self, event: Event) -> bool:
        number, arguments = event[1], event[2]
        if number == DELIVER:
            at = 1 + arguments[0]
            subscription = self.by_name.get(arguments[1:at])
            if subscription is None:
                raise LinkLost(f"{self.link.location.label} delivered to a consumer that does not exist")
            tag = _tag(arguments, at)[0]
            subscription.delivered += 1
            subscription.waiting.append(event)
            # In this order: whoever acknowledges takes all up to `latest` that are not here for done.
            self.held[tag] = subscription
            self.latest = tag
            self.count += 1
            return True
        if number == CANCEL:
            self.cancelled.append(arguments[1 : 1 + arguments[0]])
            return True
        return False

    def ended(self) -> None:
        closed = self.closed
        if closed is not None:
            self.link.fail(_channel_lost(self.link, closed))


def _needed(subscription: _Subscription, limit: int) -> int:
    return min(subscription.held - len(subscription.waiting) + limit, _LARGEST_WINDOW)


def _channel_lost(link: Link, closed: ChannelClosed) -> LinkLost:
    seconds, fix = TIMEOUTS.learn(link.location, closed.reason), ""
    if seconds is not None:
        fix = f"; set `hold_seconds` to at most {seconds / 2:g}, or raise `consumer_timeout` of the server"
    return LinkLost(
        f"{link.location.label} closed the channel that consumes: {closed}{fix}", code=closed.code, reason=closed.reason
    )


class Consumer:
    """Consumes queues over a channel of its own. One thread takes at a time; any thread acknowledges.

    `missing(queue)` is called in the thread that takes when a queue does not exist (any more) and is to declare it;
    without it the take raises QueueMissing.

    1. Each queue has a consumer, whose window (its prefetch) is what it holds and what is asked for now. A window never
       changes on the server, so a consumer is replaced: when it is too small, or more than twice too large.
    2. Queues are subscribed to in their order, and a later one only when the earlier ones did not have enough; so a
       worker that is busy with the first does not hoard what others could do.
    3. What was pushed waits here, by queue, and is parsed when it is taken.
    4. Tags count upwards over all queues of the channel. What is acknowledged up to the first that is still held goes
       as one acknowledgement of all of them, the rest one by one.
    5. A channel that the server closes takes all with it that is held, so the link is given up with it.
    """

    def __init__(self, link: Link, *, missing: Callable[[str], object] | None = None) -> None:
        self._link = link
        self._missing = missing
        self._taking = threading.Lock()
        self._acking = threading.Lock()
        self._channel: _Consuming | None = None
        self._subscriptions: dict[str, _Subscription] = {}
        self._waiting: dict[str, deque[Event]] = {}
        self._names = itertools.count(1)
        self._floor = 1
        self._woken = False
        self._reader = link.codec.reader()
        self._closed = False

    def take(self, queues: Sequence[str], *, limit: int, timeout: float) -> list[Incoming]:
        """Return up to `limit` messages, waiting at most `timeout` seconds for the first; earlier queues first.

        Raises: LinkLost: all that was held is gone, its `reason` says why. QueueMissing.
        """
        end = monotonic() + timeout
        with self._taking:
            channel = self._open()
            self._tidy(channel, queues)
            if self._filled(queues) < limit and channel.count:
                self._link.read()
            for queue in queues:
                if self._filled(queues) < limit:
                    self._subscribe(channel, queue, limit)
                else:
                    self._shrink(channel, queue, limit)
            if not self._filled(queues) and timeout > 0 and not self._woken:
                self._wait(channel, queues, end)
            self._woken = False
            return self._taken(queues, limit)

    def _wait(self, channel: _Consuming, queues: Sequence[str], end: float) -> None:
        seen = channel.count

        def something() -> bool:
            return channel.count != seen or self._woken or bool(channel.cancelled)

        while not self._filled(queues) and not self._woken:
            seen = channel.count
            if self._filled(queues) or not self._link.wait(something, end):
                return
            if channel.cancelled:
                # The time that is left: the queue is declared again, and consumed by the next take.
                return

    def _open(self) -> _Consuming:
        channel = self._channel
        if self._closed:
            raise LinkLost("this consumer is closed")
        if channel is None:
            channel = _Consuming(self._link)
            channel.open(monotonic() + _ANSWER_SECONDS)
            self._channel = channel
        if self._link.lost:
            self._link.wait(lambda: False, 0.0)
        return channel

    def _filled(self, queues: Sequence[str]) -> int:
        waiting = self._waiting
        return sum([len(waiting[queue]) for queue in queues if queue in waiting])

    def _taken(self, queues: Sequence[str], limit: int) -> list[Incoming]:
        taken: list[Incoming] = []
        for queue in queues:
            waiting = self._waiting.get(queue)
            if waiting and len(taken) < limit:
                count = min(len(waiting), limit - len(taken))
                taken += self._reader.read(queue, [waiting.popleft() for _ in range(count)])
        return taken

    # Subscriptions.

    def _tidy(self, channel: _Consuming, queues: Sequence[str]) -> None:
        """Forget consumers that the server cancelled, and end those that nobody asks for any more."""
        while channel.cancelled:
            gone = channel.by_name.get(channel.cancelled.popleft())
            if gone is not None and self._subscriptions.get(gone.queue) is gone:
                del self._subscriptions[gone.queue]
        now = monotonic()
        for queue in queues:
            if queue in self._subscriptions:
                self._subscriptions[queue].asked = now
        if len(self._subscriptions) > len(queues):
            for old in list(self._subscriptions.values()):
                if old.queue not in queues and now - old.asked > _UNASKED_SECONDS:
                    self._cancel(channel, old)
        for name, each in list(channel.by_name.items()):
            if not each.held and self._subscriptions.get(each.queue) is not each:
                del channel.by_name[name]

    def _cancel(self, channel: _Consuming, old: _Subscription) -> None:
        del self._subscriptions[old.queue]
        self._call(channel, method(channel.number, CANCEL, short(old.name.decode()) + b"\0"), CANCELLED)

    def _shrink(self, channel: _Consuming, queue: str, limit: int) -> None:
        """End a consumer that has enough waiting and would go on to hold far more than is asked for."""
        old = self._subscriptions.get(queue)
        if old is not None and old.window > 2 * _needed(old, limit):
            self._cancel(channel, old)

    def _subscribe(self, channel: _Consuming, queue: str, limit: int) -> None:
        """Have a consumer that may hold `limit` messages beside those that are held, and not very many more."""
        old = self._subscriptions.get(queue)
        needed = limit
        frames = b""
        if old is not None:
            needed = _needed(old, limit)
            if needed <= old.window <= 2 * needed:
                return
            frames = method(channel.number, CANCEL, short(old.name.decode()) + b"\0")
            # The new one counts from nothing; what waits is a part of what is asked for.
            needed = max(limit - len(old.waiting), 1)
        else:
            self._make_sure(queue)
        new = _Subscription(queue, self._waiting.setdefault(queue, deque()))
        new.name = b"celeriac.%d" % next(self._names)
        new.window, new.asked = min(needed, _LARGEST_WINDOW), monotonic()
        channel.by_name[new.name] = new
        frames += method(channel.number, QOS, struct.pack(">IHB", 0, new.window, 0))
        frames += method(
            channel.number, CONSUME, b"\0\0" + short(queue) + short(new.name.decode()) + b"\0" + b"\0\0\0\0"
        )
        self._subscriptions.pop(queue, None)
        try:
            self._call(channel, frames, _CONSUMED)
        except LinkLost as lost:
            if lost.code == _NOT_FOUND:
                raise QueueMissing(queue) from lost
            raise
        self._subscriptions[queue] = new

    def _make_sure(self, queue: str) -> None:
        """See that a queue exists before it is consumed: the channel, and all that is held, would end with the try."""
        try:
            self._link.rare(lambda channel: channel.queue_declare(queue, passive=True), timeout=_ANSWER_SECONDS)
        except (LinkLost, DeadlineExceeded):
            raise
        except Exception as error:
            if getattr(error, "reply_code", 0) != _NOT_FOUND:
                raise
            if self._missing is None:
                raise QueueMissing(queue) from error
            self._missing(queue)

    def _call(self, channel: _Consuming, frames: bytes, answer: int) -> None:
        try:
            channel.call(frames, answer, monotonic() + _ANSWER_SECONDS)
        except ChannelClosed as closed:
            raise _channel_lost(self._link, closed) from closed
        except DeadlineExceeded as late:
            # Whether the consumer exists is not known, nor what it will push.
            lost = LinkLost(str(late))
            self._link.fail(lost)
            raise lost from late

    # Acknowledging.

    def ack(self, tags: Collection[int], *, later: bool = False) -> None:
        """Acknowledge messages in one write, without an answer; tags that are not held are passed over.

        `later`: with what is written next over the link, or before that when somebody waits, or after about a second.

        Raises: LinkLost: they are not settled, and come back.
        """
        channel = self._channel
        if channel is None:
            return
        held = channel.held
        with self._acking:
            settled: list[int] = []
            for tag in tags:
                subscription = held.pop(tag, None)
                if subscription is not None:
                    subscription.settled += 1
                    settled.append(tag)
            if not settled:
                return
            settled.sort()
            floor, latest = self._floor, channel.latest
            while floor <= latest and floor not in held:
                floor += 1
            self._floor = floor
            upto, single = 0, settled
            if settled[-1] < floor:
                upto, single = settled[-1], []
            elif settled[0] < floor:
                single = [tag for tag in settled if tag >= floor]
                upto = settled[-len(single) - 1]
            frames = acks(channel.number, upto, single)
            if later:
                self._link.postpone(frames)
                return
            try:
                self._link.write(frames, monotonic() + _ANSWER_SECONDS)
            except DeadlineExceeded as late:
                # These are settled here, and held there.
                lost = LinkLost(f"{self._link.location.label} takes no acknowledgements")
                self._link.fail(lost)
                raise lost from late

    def holds(self, tag: int) -> bool:
        """Whether a message was taken here and not acknowledged yet."""
        return self._channel is not None and tag in self._channel.held and not self._link.lost

    def waiting(self) -> dict[str, int]:
        """Return how many messages of each queue were pushed until now and not taken yet."""
        channel = self._channel
        # Whoever takes reads what comes; else the answer to any question comes behind all that was pushed before it.
        if channel is not None and not self._link.lost and self._taking.acquire(blocking=False):
            try:
                self._call(channel, method(channel.number, QOS, struct.pack(">IHB", 0, 1, 0)), _QOS_SET)
            finally:
                self._taking.release()
        return {queue: len(waiting) for queue, waiting in list(self._waiting.items())}

    def heads(self) -> dict[str, Event]:
        """Return what waits first of each queue that has pushed and was not taken from: the same as long as it does."""
        heads: dict[str, Event] = {}
        for queue, waiting in list(self._waiting.items()):
            with suppress(IndexError):  # empty, or emptied at this moment
                heads[queue] = waiting[0]
        return heads

    def surplus(self, queues: Collection[str] | None = None) -> list[Incoming]:
        """Consume these queues no more, or all, and return what was pushed and no take has asked for.

        It is then held as if it had been taken. The next take that names such a queue consumes it again.
        """
        with self._taking:
            channel = self._channel
            if channel is None:
                return []
            for each in list(self._subscriptions.values()):
                if queues is None or each.queue in queues:
                    self._cancel(channel, each)
            return self._taken(list(self._waiting if queues is None else queues), _LARGEST_WINDOW)

    def wake(self) -> None:
        """Make the `take` that waits return at once, or the next one if none waits."""
        self._woken = True
        self._link.rouse()

    def close(self, timeout: float = 1.0) -> None:
        """End the channel: what is held, and what waits, returns to its queues in the order that it had."""
        self._closed = True
        self.wake()
        with self._taking:
            if self._channel is not None:
                self._channel.close(monotonic() + timeout)
                self._channel.held.clear()
