"""The result records, when they expire, and who waits for which."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import count

from celeriac.model.record import SUCCESS, ResultRecord

__all__ = ["Records", "Subscription"]


class Subscription:
    """The ids one connection waits for, and what became ready since it last asked."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.ready: dict[str, ResultRecord] = {}


class Records:
    """The results of one store. Not thread-safe. `tick` is `Clock.monotonic()`."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, float | None, ResultRecord]] = {}
        """By id: a number for this version, when it expires, the record."""
        self._expiries: list[tuple[float, int, str]] = []
        self._versions = count(1)
        self._subscribers: defaultdict[str, set[Subscription]] = defaultdict(set)

    def put(self, records: Sequence[ResultRecord], tick: float) -> None:
        for record in records:
            if not self._may_replace(record, tick):
                continue
            version = next(self._versions)
            expiry = None if record.expires_seconds is None else tick + record.expires_seconds
            self._kept[record.id] = (version, expiry, record)
            if expiry is not None:
                heapq.heappush(self._expiries, (expiry, version, record.id))
            if record.ready:
                for subscription in self._subscribers.get(record.id, ()):
                    subscription.ready[record.id] = record

    def get(self, ids: Collection[str], tick: float) -> dict[str, ResultRecord]:
        return {id_: record for id_ in ids if (record := self._read(id_, tick)) is not None}

    def delete(self, ids: Collection[str], tick: float) -> int:
        found = self.get(ids, tick)
        for id_ in ids:
            self._kept.pop(id_, None)
        return len(found)

    def sweep(self, limit: int, tick: float) -> int:
        dropped = 0
        while dropped < limit and self._expiries and self._expiries[0][0] <= tick:
            _, version, id_ = heapq.heappop(self._expiries)
            # An older version's entry stays in the heap when a record is replaced or deleted; it says nothing.
            if id_ in self._kept and self._kept[id_][0] == version:
                del self._kept[id_]
                dropped += 1
        return dropped

    def watch(self, subscription: Subscription, ids: Collection[str]) -> None:
        subscription.ids.update(ids)
        for id_ in ids:
            self._subscribers[id_].add(subscription)

    def unwatch(self, subscription: Subscription, ids: Collection[str]) -> None:
        for id_ in subscription.ids.intersection(ids):
            subscription.ids.discard(id_)
            subscription.ready.pop(id_, None)
            self._subscribers[id_].discard(subscription)
            if not self._subscribers[id_]:
                del self._subscribers[id_]

    def _read(self, id_: str, tick: float) -> ResultRecord | None:
        entry = self._kept.get(id_)
        if entry is None:
            return None
        _, expiry, record = entry
        return record if expiry is None or expiry > tick else None

    def _may_replace(self, new: ResultRecord, tick: float) -> bool:
        old = self._read(new.id, tick)
        return old is None or (old.state != SUCCESS and (new.ready or not old.ready))
