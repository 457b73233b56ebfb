"""What waits, what is delayed, what is held by whom, and what was put aside."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from itertools import count

from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.routing import Queue
from celeriac.spi.transport import Letter, LetterKind, QueueDepth
from celeriac_memory.joins import Joins
from celeriac_memory.routes import Routes

__all__ = ["Broker"]


class _Item:
    """One message in one queue. `order` is its place of publication, which it keeps when it is released."""

    __slots__ = ("deliveries", "message", "order", "queue", "since")

    def __init__(self, order: int, message: Message, queue: _Queue, since: float) -> None:
        self.order = order
        self.message = message
        self.queue = queue
        self.since = since
        self.deliveries = 0


class _Queue:
    """Two heaps: what waits, by priority and order; what is delayed, by the moment it is due."""

    __slots__ = ("delayed", "held", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: list[tuple[int, int, _Item]] = []
        self.delayed: list[tuple[float, int, _Item]] = []
        self.held = 0

    def put(self, item: _Item, due: float | None, now: float) -> None:
        if due is not None and due > now:
            heapq.heappush(self.delayed, (due, item.order, item))
        else:
            heapq.heappush(self.ready, (-item.message.priority, item.order, item))

    def promote(self, now: float) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self.put(heapq.heappop(self.delayed)[2], None, now)


class _Lease:
    """What one holder has, until when. The key is the tag of the delivery, never used twice: the fencing token."""

    __slots__ = ("held", "lapsed", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.lapsed = False
        """Whether it has run out since its holder last renewed; `renew` tells."""
        self.held: dict[int, _Item] = {}


class Broker:
    """The messages of one store. Not thread-safe.

    `now` is `Clock.time()`, for what is due; `tick` is `Clock.monotonic()`, for leases.
    """

    def __init__(self) -> None:
        self._routes = Routes()
        self._queues: dict[str, _Queue] = {}
        self._leases: dict[str, _Lease] = {}
        self._letters: dict[int, Letter] = {}
        self._orders = count(1)
        self._tags = count(1)
        self._letter_ids = count(1)

    def declare(self, queues: Sequence[Queue]) -> None:
        self._routes.declare(queues)
        for queue in queues:
            self._queue(queue.name)

    def publish(self, messages: Sequence[Message], now: float) -> None:
        self._add(self._route(messages), now)

    def take(
        self, holder: str, queues: Sequence[str], limit: int, *, lease_seconds: float, now: float, tick: float
    ) -> list[Delivery]:
        self._reap(tick, now)
        taken: list[Delivery] = []
        for name in queues:
            queue = self._queues.get(name)
            if queue is None:
                continue
            queue.promote(now)
            while queue.ready and len(taken) < limit:
                lease = self._lease(holder, tick, lease_seconds)
                taken.append(self._hand_over(heapq.heappop(queue.ready)[2], lease))
        return taken

    def next_change(self, queues: Sequence[str], now: float, tick: float) -> float | None:
        """Return the seconds until a delayed message is due or a lease lapses, whichever comes first."""
        waits = [queue.delayed[0][0] - now for name in queues if (queue := self._queues.get(name)) and queue.delayed]
        waits += [lease.until - tick for lease in self._leases.values() if lease.held]
        return max(0.0, min(waits)) if waits else None

    def renew(self, holder: str, *, lease_seconds: float, now: float, tick: float) -> bool:
        self._reap(tick, now)
        lease = self._lease(holder, tick, lease_seconds)
        kept, lease.lapsed = not lease.lapsed, False
        lease.until = tick + lease_seconds
        return kept

    def retain(self, holder: str, tags: Collection[int], *, now: float, tick: float) -> int:
        """Put back what the holder holds beyond `tags`; return how many that were."""
        self._reap(tick, now)
        lease = self._leases.get(holder)
        held = lease.held if lease is not None else {}
        unknown = [tag for tag in held if tag not in tags]
        for tag in unknown:
            item = held.pop(tag)
            item.deliveries -= 1
            item.queue.held -= 1
            item.queue.put(item, None, now)
        return len(unknown)

    def settle(
        self, holder: str, verdicts: Sequence[Verdict], *, joins: Joins, now: float, tick: float
    ) -> tuple[list[Verdict], list[Verdict]]:
        """Carry out what is still held; return the verdicts that took effect and those that were refused."""
        self._reap(tick, now)
        lease = self._leases.get(holder)
        held = lease.held if lease is not None else {}
        accepted: list[Verdict] = []
        refused: list[Verdict] = []
        seen: set[int] = set()
        for verdict in verdicts:
            if verdict.delivery is None:
                accepted.append(verdict)
            elif (tag := verdict.delivery.tag) in held and tag not in seen:
                seen.add(tag)
                accepted.append(verdict)
            else:
                refused.append(verdict)
        # Routes first: a follow-up that reaches no queue raises here, before anything has happened.
        followups = [self._route(verdict.followups) for verdict in accepted]
        opened = [join for verdict in accepted for join in verdict.joins]
        parts = [part for verdict in accepted for part in verdict.parts]
        if opened or parts:
            self._route([*(join.message for join in opened), *joins.messages(parts)])
        for verdict, routed in zip(accepted, followups, strict=True):
            if verdict.delivery is not None:
                self._carry_out(verdict, held.pop(verdict.delivery.tag), now)
            self._add(routed, now)
        joins.open(opened, tick)
        joins.grow([growth for verdict in accepted for growth in verdict.grows])
        self._add(self._route(joins.give(parts, tick, once=True)), now)
        joins.close([id_ for verdict in accepted for id_ in verdict.closes])
        return accepted, refused

    def depths(self, names: Collection[str] | None, now: float, tick: float) -> list[QueueDepth]:
        self._reap(tick, now)
        return [self._depth(name, now) for name in sorted(self._queues if names is None else names)]

    def browse(self, name: str, limit: int, now: float, tick: float) -> list[Message]:
        self._reap(tick, now)
        queue = self._queues.get(name)
        if queue is None:
            return []
        queue.promote(now)
        return [item.message for _, _, item in heapq.nsmallest(limit, queue.ready)]

    def purge(self, name: str) -> int:
        queue = self._queues.get(name)
        if queue is None:
            return 0
        found = len(queue.ready) + len(queue.delayed)
        queue.ready.clear()
        queue.delayed.clear()
        return found

    def letters(self, kind: LetterKind | None, limit: int, after: str | None) -> list[Letter]:
        start = _letter_number(after) if after is not None else 0
        found = (letter for number, letter in self._letters.items() if number > start and kind in (None, letter.kind))
        return [letter for letter, _ in zip(found, range(limit), strict=False)]

    def replay(self, ids: Collection[str], now: float) -> int:
        letters = self._remove_letters(ids)
        self._add([(letter.message, [letter.queue]) for letter in letters], now)
        return len(letters)

    def discard(self, ids: Collection[str]) -> int:
        return len(self._remove_letters(ids))

    def _route(self, messages: Sequence[Message]) -> list[tuple[Message, list[str]]]:
        return [(message, self._routes.reached_by(message)) for message in messages]

    def _add(self, routed: Sequence[tuple[Message, list[str]]], now: float) -> None:
        for message, names in routed:
            for name in names:
                queue = self._queue(name)
                queue.put(_Item(next(self._orders), message, queue, now), message.due, now)

    def _queue(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(name)
        return queue

    def _lease(self, holder: str, tick: float, seconds: float) -> _Lease:
        lease = self._leases.setdefault(holder, _Lease(tick + seconds))
        if lease.until <= tick:
            lease.until = tick + seconds
        return lease

    def _hand_over(self, item: _Item, lease: _Lease) -> Delivery:
        tag = next(self._tags)
        item.deliveries += 1
        item.queue.held += 1
        lease.held[tag] = item
        return Delivery(message=item.message, queue=item.queue.name, tag=tag, deliveries=item.deliveries)

    def _reap(self, tick: float, now: float) -> None:
        """Return to their queues what lapsed leases held, the delivery count raised as it is."""
        for lease in self._leases.values():
            if lease.until > tick:
                continue
            lease.lapsed = True
            for item in lease.held.values():
                item.queue.held -= 1
                item.queue.put(item, None, now)
            lease.held.clear()

    def _carry_out(self, verdict: Verdict, item: _Item, now: float) -> None:
        item.queue.held -= 1
        if verdict.action is Action.RELEASE:
            item.deliveries -= not verdict.counted
            item.queue.put(item, now + verdict.delay, now)
        elif verdict.action is not Action.ACK:
            number = next(self._letter_ids)
            self._letters[number] = Letter(
                id=str(number),
                kind="dead" if verdict.action is Action.DEAD else "parked",
                queue=item.queue.name,
                reason=verdict.reason,
                moment=now,
                deliveries=item.deliveries,
                message=item.message,
            )

    def _depth(self, name: str, now: float) -> QueueDepth:
        queue = self._queues.get(name)
        if queue is None:
            return QueueDepth(queue=name, waiting=0)
        queue.promote(now)
        oldest = min((item.since for _, _, item in queue.ready), default=None)
        return QueueDepth(
            queue=name,
            waiting=len(queue.ready),
            delayed=len(queue.delayed),
            held=queue.held,
            oldest_seconds=None if oldest is None else max(0.0, now - oldest),
        )

    def _remove_letters(self, ids: Collection[str]) -> list[Letter]:
        numbers = sorted({_letter_number(id_) for id_ in ids} & self._letters.keys())
        return [self._letters.pop(number) for number in numbers]


def _letter_number(id_: str) -> int:
    return int(id_) if id_.isascii() and id_.isdigit() else -1
