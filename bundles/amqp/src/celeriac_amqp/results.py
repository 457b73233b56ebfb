"""The result store `rpc://`: each result is a message to the process that asked for it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, ClassVar, Final

from celeriac.errors import ConfigurationError, DeadlineExceeded, StoreFull
from celeriac.model.address import Address
from celeriac.model.record import ResultRecord
from celeriac.spi.results import Replies, ResultStore, Waits
from celeriac.spi.service import Context
from celeriac_amqp import failures
from celeriac_amqp.answers import outgoing
from celeriac_amqp.consumer import Consumer
from celeriac_amqp.failures import ChannelClosed, LinkLost, Nacked
from celeriac_amqp.frames import Incoming
from celeriac_amqp.link import Link
from celeriac_amqp.location import Location, locate
from celeriac_amqp.plugin import RESULT_CAPABILITIES, RESULT_OPTIONS
from celeriac_amqp.publisher import Publisher
from celeriac_amqp.replies import BATCH, Line, Listener, Mailbox, mailbox

__all__ = ["ReplyLine", "RpcResults"]

SCHEMES: Final = frozenset({"rpc", "amqp", "amqps", "pyamqp", "librabbitmq"})
"""Of brokers whose messages go over RabbitMQ, and of a RabbitMQ for results alone."""
TRANSIENT: Final = 1
PERSISTENT: Final = 2
_FEW: Final = 32
"""Results of which the server is told later that they are here."""
_CLOSE_SECONDS: Final = 1.0


class RpcResults(ResultStore, Replies, Waits):
    """Sends over a connection of its own, opened with the first result; reads in the mailbox of the process."""

    capabilities = RESULT_CAPABILITIES
    options = RESULT_OPTIONS
    driver_errors: ClassVar[tuple[type[BaseException], ...]] = (LinkLost, ChannelClosed)

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        if address.scheme not in SCHEMES:
            raise ConfigurationError(
                f"rpc:// sends results over RabbitMQ, and the broker is {address}. Set `result_backend` to a store of"
                " its own, or to rpc://host/vhost, a RabbitMQ for results alone."
            )
        self.location: Location = locate(address, self.option)
        self.dropped: int = 0
        """How many results nobody asked for: their messages have no `reply_to`."""
        self._limit: int = self.option["result_max_bytes"]
        self._persistent: bool = self.option["result_persistent"]
        self._mode = PERSISTENT if self._persistent else TRANSIENT
        self._expires: float = self.option["reply_queue_expires_seconds"]
        self._sending = threading.Lock()
        self._link: Link | None = None
        self._publisher: Publisher | None = None
        self._idle = threading.Condition()
        self._box: Mailbox | None = None
        self._name = ""
        self._listener = Listener()
        self._open_now = False
        self._broken = False

    def _open(self, timeout: float) -> None:
        self._open_now = True

    def _close(self) -> None:
        was_open, self._open_now = self._open_now, False
        with self._idle:
            self._idle.notify_all()
        if was_open and self._box is not None:
            self._box.leave(self._listener, broken=self._broken)
        link, self._link, self._publisher = self._link, None, None
        if link is not None:
            link.close(_CLOSE_SECONDS)

    # -- sending -----------------------------------------------------------------------------------------

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        messages = [outgoing(record, self._mode, self._limit) for record in records if record.reply_to]
        self.dropped += len(records) - len(messages)
        end = monotonic() + timeout
        with self._errors(timeout):
            self._check_open()
            if not messages:
                return
            publisher = self._publisher or self._connected(timeout)
            if not self._persistent:
                publisher.send(messages, timeout=end - monotonic())
                return
            try:
                # Not mandatory: a queue that is gone is no error.
                publisher.publish(messages, mandatory=False, timeout=end - monotonic())
            except Nacked as error:
                raise StoreFull(f"{self.address} at put: {error}") from error

    def _connected(self, timeout: float) -> Publisher:
        with self._sending:
            self._check_open()
            if self._publisher is None:
                link = Link(self.location, name="celeriac results")
                try:
                    link.open(timeout)
                except BaseException:
                    link.close(_CLOSE_SECONDS)
                    raise
                self._link, self._publisher = link, Publisher(link)
            return self._publisher

    # -- receiving ---------------------------------------------------------------------------------------

    def listen(self, name: str, *, timeout: float) -> None:
        with self._errors(timeout):
            self._check_open()
            box = self._box
            if box is None or self._name != name:
                box = self._move(name)
            began = self._listener.line is None
            box.listen(self._listener, timeout)
        if began:
            with self._idle:
                self._idle.notify_all()

    def _move(self, name: str) -> Mailbox:
        """Read in the mailbox of another name from now on."""
        with self._sending:
            if self._box is None or self._name != name:
                former, listener = self._box, self._listener
                self._listener = Listener()
                self._listener.watched = listener.watched
                self._name = name
                self._box = mailbox((self.location.label, name), lambda: self._line_to(name))
                if former is not None:
                    former.leave(listener, broken=False)
            return self._box

    def _line_to(self, name: str) -> Line:
        return ReplyLine(self.location, name, self._expires)

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        with self._errors(timeout):
            self._check_open()
            return {} if self._box is None else self._box.get(ids, self._listener)

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        with self._errors(timeout):
            self._check_open()
            return 0 if self._box is None else self._box.delete(ids, self._listener)

    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("watch"), self._errors(timeout):
            self._check_open()
            self._listener.watched.update(ids)

    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("unwatch"), self._errors(timeout):
            self._check_open()
            self._listener.watched.difference_update(ids)
            for id_ in ids:
                self._listener.ready.pop(id_, None)

    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        end = monotonic() + timeout
        with self._call("changed"), self._errors(timeout):
            self._check_open()
            box, listener = self._box, self._listener
            if box is None or listener.line is None:
                with self._idle:  # nothing comes before this process has published something
                    self._idle.wait_for(lambda: not self._open_now or self._listener.line is not None, timeout)
                box, listener = self._box, self._listener
            if box is None or not self._open_now:
                return {}
            box.wait(listener, end - monotonic())
            with box.changed:
                found, listener.ready = listener.ready, {}
                return found

    # -- errors ------------------------------------------------------------------------------------------

    @contextmanager
    def _errors(self, timeout: float) -> Iterator[None]:
        """Say the driver's errors in the kernel's; after one of them closing deletes nothing."""
        try:
            yield
        except failures.DeadlineExceeded as error:
            self._broken = True
            raise DeadlineExceeded(f"{self.address}: {error}", timeout) from error
        except self.driver_errors as error:
            self._broken = True
            raise self.lost_error(f"{self.address}: {error}") from error

    def _check_open(self) -> None:
        if not self._open_now:
            raise LinkLost("this connection is not open")


class ReplyLine(Line):
    """A connection that consumes one reply queue."""

    def __init__(self, location: Location, queue: str, expires: float) -> None:
        self._queue = queue
        self._arguments = {"x-queue-type": "classic", "x-expires": max(1, round(expires * 1000))}
        self._link = Link(location, name="celeriac replies")
        self._consumer = Consumer(self._link, missing=self._declare)
        self._timeout = _CLOSE_SECONDS
        self._waited: list[Incoming] = []
        """What was there when this connection began to consume."""
        self._arrived = False

    @property
    def lost(self) -> bool:
        return self._link.lost

    def open(self, timeout: float) -> None:
        end = monotonic() + timeout
        self._link.open(timeout)
        self._timeout = timeout
        self._link.rare(self._declared, timeout=end - monotonic())
        # What is consumed does not expire. A window of two batches, so that it need not grow when one is taken while
        # the one before is not yet acknowledged.
        self._waited = self._consumer.take([self._queue], limit=2 * BATCH, timeout=0)

    def _declare(self, _: str) -> None:
        self._link.rare(self._declared, timeout=self._timeout)

    def _declared(self, channel: Any) -> None:
        # Not exclusive: that would end with the connection. Durable: RabbitMQ 4 wants no others that are shared.
        channel.queue_declare(self._queue, durable=True, auto_delete=False, arguments=self._arguments)

    def take(self, timeout: float) -> list[Incoming]:
        waited, self._waited = self._waited, []
        if not timeout and not waited and not self._arrived:
            self._link.read()  # a take that does not wait looks at what was read, until something was ever delivered
        found = waited or self._consumer.take([self._queue], limit=BATCH, timeout=timeout)
        self._arrived = self._arrived or bool(found)
        return found

    def ack(self, tags: Collection[int]) -> None:
        # Who waits for a result has it: the server may learn of that when there is time.
        self._consumer.ack(tags, later=len(tags) <= _FEW)

    def wake(self) -> None:
        self._consumer.wake()

    def close(self, *, delete: bool) -> None:
        try:
            if delete and not self._link.lost:
                self._link.rare(lambda channel: channel.queue_delete(self._queue), timeout=_CLOSE_SECONDS)
        except (LinkLost, failures.DeadlineExceeded, failures.ChannelClosed):
            pass  # then it expires
        finally:
            self._link.close(_CLOSE_SECONDS)
