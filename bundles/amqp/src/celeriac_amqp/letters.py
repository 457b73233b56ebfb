"""Dead letters and parked messages: two queues, in which each message says what it is there for.

RabbitMQ shows what is in a queue only to who takes it. So whoever lists or replays letters takes those of a queue one
after another over a connection of its own; what is to stay returns as that closes, however it does.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any, Final

from msgspec.structs import replace

from celeriac.spi.transport import Letter, LetterKind
from celeriac_amqp.asking import NOT_FOUND, Asking
from celeriac_amqp.consumer import Consumer
from celeriac_amqp.failures import ChannelClosed
from celeriac_amqp.frames import Incoming, Outgoing, Properties
from celeriac_amqp.link import Link
from celeriac_amqp.messages import DELIVERIES, LETTER_HEADERS, read, write
from celeriac_amqp.topology import Topology

__all__ = ["LETTER_QUEUES", "Letters", "letter_headers", "undecodable"]

LETTER_QUEUES: Final[dict[LetterKind, str]] = {"dead": "celeriac.dead", "parked": "celeriac.parked"}
_ID, _REASON, _QUEUE, _MOMENT = LETTER_HEADERS
_UNLIMITED: Final = 1_000_000_000
"""How often a quorum queue may hand out a letter: each listing counts, and at the limit it would be dropped."""

_GATHER_SECONDS: Final = 0.5
"""How long to wait for a letter that was counted: somebody else may have taken it since."""
_RETURN_SECONDS: Final = 2.0

_numbers = itertools.count()


def letter_headers(*, queue: str, reason: str, moment: float, deliveries: int) -> dict[str, Any]:
    """Return the headers that make a message a letter. Ids grow with time, and tell letters of one moment apart."""
    return {
        _ID: f"{moment * 1e6:017.0f}-{next(_numbers) % 10**9:09d}",
        _REASON: reason,
        _QUEUE: queue,
        _MOMENT: float(moment),
        DELIVERIES: deliveries,
    }


def undecodable(incoming: Incoming, reason: str, moment: float) -> Outgoing:
    """Return the letter for what is no message: its bytes as they are."""
    return Outgoing(
        exchange="",
        routing_key=LETTER_QUEUES["dead"],
        properties=Properties(delivery_mode=2, content_type="application/data"),
        headers=letter_headers(queue=incoming.queue, reason=reason, moment=moment, deliveries=1),
        body=incoming.body,
    )


class Letters:
    """Lists, replays and discards, each time over a connection of its own.

    `connect(timeout)` opens one; `publish(copies, end)` sends copies, confirmed, before the originals go.
    """

    def __init__(
        self,
        asking: Asking,
        topology: Topology,
        connect: Callable[[float], Link],
        publish: Callable[[Sequence[Outgoing], float], None],
        queue_type: str,
    ) -> None:
        self._asking = asking
        self._topology = topology
        self._connect = connect
        self._publish = publish
        self._arguments: dict[str, Any] = {}
        if queue_type == "quorum":
            self._arguments = {"x-queue-type": "quorum", "x-delivery-limit": _UNLIMITED}
        self._made = False
        self._lock = threading.Lock()

    def prepare(self, timeout: float) -> None:
        """Declare both queues, unless that was done over this connection; they may be of any type."""
        if not self._made:
            form = {"durable": True, "auto_delete": False, "arguments": self._arguments}
            self._asking.each([("queue_declare", {"queue": name, **form}) for name in LETTER_QUEUES.values()], timeout)
            self._made = True

    def page(self, kind: LetterKind | None, limit: int, after: str | None, timeout: float) -> list[Letter]:
        """Return the first `limit` letters after one, oldest first."""
        end = monotonic() + timeout
        kinds = LETTER_QUEUES if kind is None else (kind,)
        found: list[Letter] = []
        for each in kinds:
            # The oldest are in front, so the first page need not see the others.
            with self._taken(each, end, limit if after is None else None) as (letters, _):
                found += letters.values()
        found.sort(key=lambda letter: letter.id)
        return [letter for letter in found if after is None or letter.id > after][:limit]

    def replay(self, ids: Collection[str], timeout: float) -> int:
        """Put letters back on their queues; return how many there were."""
        return self._remove(set(ids), monotonic() + timeout, replay=True)

    def discard(self, ids: Collection[str], timeout: float) -> int:
        """Delete letters; return how many there were."""
        return self._remove(set(ids), monotonic() + timeout, replay=False)

    def _remove(self, ids: set[str], end: float, *, replay: bool) -> int:
        total = 0
        for kind in LETTER_QUEUES if ids else ():
            with self._taken(kind, end) as (letters, ack):
                chosen = {tag: letter for tag, letter in letters.items() if letter.id in ids}
                if replay and chosen:
                    self._topology.ensure({letter.queue for letter in chosen.values()}, end - monotonic())
                    self._publish([_again(letter) for letter in chosen.values()], end)
                ack(chosen)
                total += len(chosen)
        return total

    @contextmanager
    def _taken(
        self, kind: LetterKind, end: float, most: int | None = None
    ) -> Iterator[tuple[dict[int, Letter], Callable[[Collection[int]], object]]]:
        """Take letters of a kind, by delivery tag; in the end, those that were not acknowledged return."""
        queue = LETTER_QUEUES[kind]
        with self._lock:
            there = self._waiting(queue, end)
            count = there if most is None else min(there, most)
            if not count:
                yield {}, _nothing
                return
            link = self._connect(end - monotonic())
            gone: set[int] = set()
            try:
                consumer = Consumer(link)
                letters: dict[int, Letter] = {}
                while len(letters) < count:
                    taken = consumer.take([queue], limit=count - len(letters), timeout=_GATHER_SECONDS)
                    if not taken:
                        break
                    letters.update((each.tag, _letter(each, kind)) for each in taken)

                def ack(tags: Collection[int]) -> None:
                    gone.update(tags)
                    consumer.ack(tags)

                yield letters, ack
            finally:
                link.close()
            # A quorum queue learns a moment later that the connection is gone.
            soon = min(end, monotonic() + _RETURN_SECONDS)
            while self._waiting(queue, end) < there - len(gone) and monotonic() < soon:
                sleep(0.01)

    def _waiting(self, queue: str, end: float) -> int:
        """Return how many letters are in a queue that maybe does not exist, and that nobody else looks at now."""
        try:
            found = self._asking.run(lambda channel: channel.queue_declare(queue, passive=True), end - monotonic())
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            return 0
        return int(found.message_count)


def _nothing(tags: Collection[int]) -> None:
    """Acknowledge none of none."""


def _again(letter: Letter) -> Outgoing:
    return write(letter.message, exchange="", routing_key=letter.queue, copy=True)


def _letter(incoming: Incoming, kind: LetterKind) -> Letter:
    """Read a letter: one of ours, or a message that RabbitMQ put there by a policy with a dead letter exchange."""
    headers, message = incoming.headers, read(incoming).message
    deaths = headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    queue = str(headers.get(_QUEUE) or death.get("queue") or incoming.queue)
    moment = headers.get(_MOMENT)
    if not isinstance(moment, float | int):
        moment = _moment(death.get("time"))
    reason = headers.get(_REASON) or f"RabbitMQ: {death.get('reason', incoming.malformed or 'no reason given')}"
    digest = hashlib.sha256(incoming.body + str(message.headers.get("id")).encode()).hexdigest()[:9]
    deliveries = headers.get(DELIVERIES)
    return Letter(
        id=str(headers.get(_ID) or f"{moment * 1e6:017.0f}-{digest}"),
        kind=kind,
        queue=queue,
        reason=str(reason),
        moment=float(moment),
        deliveries=deliveries if isinstance(deliveries, int) else 1,
        message=message if _ID in headers else replace(message, exchange="", routing_key=queue),
    )


def _moment(found: Any) -> float:
    """Read when RabbitMQ put a message aside: a moment, or its text."""
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            return 0.0
    if isinstance(found, datetime):
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return float(found) if isinstance(found, float | int) else 0.0
