"""One connection to RabbitMQ, for any number of threads."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from celeriac_amqp.codec import PYTHON, Codec
from celeriac_amqp.dialing import Driver, connection_closed, refusal, server_error
from celeriac_amqp.failures import DeadlineExceeded, LinkLost
from celeriac_amqp.frames import CLOSE, CLOSED, HEARTBEAT, method
from celeriac_amqp.heart import HEART
from celeriac_amqp.parser import Garbled
from celeriac_amqp.pump import Pump
from celeriac_amqp.wire import Wire

if TYPE_CHECKING:
    from celeriac_amqp.channel import Channel
    from celeriac_amqp.location import Location

__all__ = ["Link"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_GOODBYE: Final = 10 << 16 | 50
_GOODBYE_OK: Final = 10 << 16 | 51
_BLOCKED: Final = 10 << 16 | 60
_UNBLOCKED: Final = 10 << 16 | 61


class Link:
    """A connection: opened once, lost or closed once, never opened again.

    py-amqp shakes hands and does the rare methods (`rare`); the channels that carry messages are ours (`attach`). No
    thread reads for all: see `Pump`. A thread of the process sends heartbeats, and reads what comes while nobody waits.
    """

    def __init__(self, location: Location, *, name: str, codec: Codec = PYTHON) -> None:
        self.location: Location = location
        self.name: str = name
        self.codec: Codec = codec
        self.blocked: str | None = None
        """Why the server takes nothing that is published at present; None when it does."""
        self.heartbeat_seconds: float = 0.0
        self.frame_max: int = 0
        self._pid = os.getpid()
        self._loss: LinkLost | None = None
        self._losing = threading.Lock()
        self._opened = False
        self._farewell = False
        self._end = 0.0
        self._channels: dict[int, Channel] = {}
        self._free: list[int] = []
        self._begin()

    def _begin(self) -> None:
        """Make everything that belongs to the attempt on one host."""
        self._parser = self.codec.parser()
        self._pump = Pump(self._arrived, self._current_loss, self.fail)
        self._driver = Driver(self._adopt, self._once, lambda data: self.write(data, self._end))

    @property
    def lost(self) -> bool:
        """Whether it was lost or closed."""
        return self._loss is not None

    def _current_loss(self) -> LinkLost | None:
        loss = self._loss
        if loss is None:
            return None
        return LinkLost(str(loss), code=loss.code, reason=loss.reason, permanent=loss.permanent)

    def open(self, timeout: float) -> None:
        """Connect to the first host that answers, each within its share of the time.

        Raises: LinkLost, with the fix where there is one.
        """
        end, hosts = monotonic() + timeout, list(self.location.nodes)
        if self.location.shuffle:
            random.shuffle(hosts)
        failed: list[LinkLost] = []
        for index, (host, port) in enumerate(hosts):
            share = max(end - monotonic(), 0.001) / (len(hosts) - index)
            seconds = min(share, self.location.connect_seconds)
            self._loss = None
            self._begin()
            try:
                self._dial(host, port, monotonic() + seconds, seconds)
            except LinkLost as error:
                self.fail(error)
                self._driver.discard()
                failed.append(error)
                if error.permanent:
                    break
                continue
            self._opened = True
            HEART.add(self)
            return
        first = failed[-1] if len(failed) == 1 or failed[-1].permanent else None
        self._loss = first or LinkLost("; ".join(str(each) for each in failed))
        raise self._loss

    def _dial(self, host: str, port: int, end: float, seconds: float) -> None:
        try:
            with self._pump.leading(end):
                self._end = end
                self._driver.connect(self.location, host, port, self.name, seconds)
        except (LinkLost, OSError, DeadlineExceeded) as error:
            raise refusal(self.location, host, port, error) from error
        except Exception as error:
            raise refusal(self.location, host, port, error) from error
        self.frame_max, channels, self.heartbeat_seconds = self._driver.limits
        self._parser.frame_max = self.frame_max or 1 << 31
        # py-amqp counts its channels from 1, so ours begin at the other end.
        self._free = list(range(max(channels - 1023, 2), channels + 1))

    def _adopt(self, sock: socket.socket) -> None:
        self._pump.wire = Wire(sock, self._pump.now, self.fail)

    # What threads do with it.

    def wait(self, done: Callable[[], object], end: float) -> bool:
        """Return True once `done()` is true, which some frame makes it, or False at the moment `end`.

        `done` is called by other threads too, and must only look. Raises: LinkLost.
        """
        return self._pump.wait(done, end)

    def read(self) -> None:
        """Take what has arrived, without waiting. Raises: LinkLost."""
        self._pump.now()

    def rouse(self) -> None:
        """Make those who wait look again, since something came true that no frame brought."""
        self._pump.rouse()

    def write(self, data: bytes, end: float) -> None:
        """Send frames in one piece. Raises: LinkLost. DeadlineExceeded: nothing was sent."""
        wire = self._pump.wire
        if wire is None or self._loss is not None:
            raise self._current_loss() or LinkLost("the link is not open")
        if self._pid != os.getpid():
            raise LinkLost("this link was opened by the process that forked this one; open another")
        try:
            wire.write(data, end)
        except LinkLost as lost:
            # What was the reason first: this may only be its consequence.
            raise self._current_loss() or lost from lost

    def post(self, data: bytes) -> None:
        """Send frames soon, without waiting and without an error."""
        wire = self._pump.wire
        if wire is not None:
            wire.post(data)

    def postpone(self, data: bytes) -> None:
        """Send frames with those that are sent next, or when somebody waits, or after about a second."""
        wire = self._pump.wire
        if wire is not None:
            wire.postpone(data)

    def rare(self, function: Callable[[Any], T], *, timeout: float) -> T:
        """Return `function(channel)`, with py-amqp's channel for declaring and the like.

        Raises: amqp.ChannelError and kin: the server refused (404, 405, 406, 403). LinkLost. DeadlineExceeded.
        """
        end = monotonic() + timeout
        with self._pump.leading(end):
            self._end, self._driver.error = end, None
            try:
                return function(self._driver.channel())
            except LinkLost:
                raise
            except Exception:
                self._check()
                raise
            finally:
                self._driver.error = None

    def _once(self) -> None:
        if not self._pump.once(self._end) and monotonic() >= self._end:
            number = self._driver.drop_channel()
            if number:
                self.post(method(number, CLOSE, b"\0\xc8\0\0\0\0\0"))
            raise DeadlineExceeded(f"{self.location.label} did not answer in time", sent=True)

    def attach(self, channel: Channel) -> int:
        """Return a free number for a channel, and give it all that arrives for that."""
        self._check()
        if not self._free:
            raise LinkLost(f"{self.location.label}: this connection has no free channel left")
        number = self._free.pop()
        self._channels[number] = channel
        self._parser.ours.add(number)
        return number

    def detach(self, channel: Channel) -> None:
        """Give a channel nothing more, since both sides have closed it."""
        if self._channels.pop(channel.number, None) is not None:
            self._parser.forget(channel.number)
            self._free.append(channel.number)

    def _check(self) -> None:
        loss = self._current_loss()
        if loss is not None:
            raise loss

    def close(self, timeout: float = 1.0) -> None:
        """End the connection; every thread that waits on it gets LinkLost. May be called again."""
        if self._pid != os.getpid():
            self._loss = self._loss or LinkLost("the link was closed here")
            self._pump.abandon()
            return
        if self._loss is None and self._opened:
            end = monotonic() + timeout
            try:
                self.write(method(0, _GOODBYE, b"\0\xc8\0\0\0\0\0"), end)
                self.wait(lambda: self._farewell, end)
            except (LinkLost, DeadlineExceeded):
                pass
        self.fail(LinkLost("the link was closed here"))

    def fail(self, loss: LinkLost) -> None:
        """Give the connection up; the first reason counts."""
        with self._losing:
            if self._loss is None:
                self._loss = loss
        HEART.remove(self)
        self._pump.stop()

    def beat(self) -> None:
        """Send a heartbeat if one is due, take what has arrived, and see whether the server still lives."""
        wire, heartbeat = self._pump.wire, self.heartbeat_seconds
        if wire is None or self._loss is not None:
            return
        wire.flush()
        try:
            self._pump.now()
        except LinkLost:
            return
        now = monotonic()
        if not heartbeat:
            return
        if now - wire.received_at > 2 * heartbeat:
            self.fail(
                LinkLost(
                    f"{self.location.label} missed its heartbeats: nothing came for {now - wire.received_at:.0f} s; "
                    "is the server, or the network to it, overloaded or gone?"
                )
            )
        elif now - wire.sent_at > heartbeat / 2:
            wire.post(HEARTBEAT)

    # What the thread that reads does.

    def _arrived(self, data: bytes) -> None:
        try:
            events = self._parser.feed(data)
        except Garbled as error:
            raise LinkLost(f"{self.location.label}: {error}") from error
        channels = self._channels
        for event in events:
            channel = channels.get(event[0])
            if channel is not None:
                channel.arrived(event)
            else:
                self._driven(event[0], -event[1], event[2])

    def _driven(self, channel: int, kind: int, payload: bytes) -> None:
        """Take a frame of the connection itself or of py-amqp's channel."""
        number = int.from_bytes(payload[:4], "big") if kind == 1 else 0
        if channel == 0 and number in _OF_CONNECTION:
            self._of_connection(number, payload[4:])
        elif channel and number == CLOSE:
            self.post(method(channel, CLOSED))
            self._driver.forget_channel(channel)
            reason = payload[7 : 7 + payload[6]].decode("utf-8", "replace")
            self._driver.error = server_error(int.from_bytes(payload[4:6], "big"), reason, payload[-4:])
        else:
            self._driver.arrived(kind, channel, payload)

    def _of_connection(self, number: int, arguments: bytes) -> None:
        if number == _GOODBYE:
            self.post(method(0, _GOODBYE_OK))
            reason = arguments[3 : 3 + arguments[2]].decode("utf-8", "replace")
            raise connection_closed(self.location, int.from_bytes(arguments[:2], "big"), reason)
        if number == _GOODBYE_OK:
            self._farewell = True
        elif number == _BLOCKED:
            self.blocked = arguments[1 : 1 + arguments[0]].decode("utf-8", "replace")
            logger.warning(
                "RabbitMQ takes no messages: %s; publishing waits until it has memory and disk space again",
                self.blocked,
                extra={"event": "amqp_blocked", "reason": self.blocked, "link": self.name},
            )
        else:
            self.blocked = None
            logger.info("RabbitMQ takes messages again", extra={"event": "amqp_unblocked", "link": self.name})


_OF_CONNECTION: Final = frozenset({_GOODBYE, _GOODBYE_OK, _BLOCKED, _UNBLOCKED})
