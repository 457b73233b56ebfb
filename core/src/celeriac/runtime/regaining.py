"""Runs whose messages the broker took back with a lost connection, or a lapsed lease, and may send here once more.

A run goes on when its connection breaks, and what it did stands. Where its message comes back to this very worker:

1. while it runs, the run gets the message, and is settled with it;
2. after it has ended and its verdict was refused, the message is settled by that verdict;
3. after it has ended and was settled, in the last moments of a connection, the message is settled once more: a broker
   that holds messages for a connection does not answer acknowledgements, and one may be lost on its way.

So work is not done twice by the worker that did it. What another worker takes meanwhile runs there: at least once.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Sequence

from msgspec.structs import replace

from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac.runtime.commits import Item
from celeriac.runtime.inflight import Held, Inflight

__all__ = ["Regaining"]

logger: logging.Logger = logging.getLogger(__name__)

REMEMBERED = 10_000
"""How many refused verdicts, and how many runs that were settled last, are remembered; the oldest go first."""

Key = tuple[str, object, object]


class Regaining:
    """Recognises messages of runs of this worker; every method is called from any thread."""

    def __init__(self, inflight: Inflight) -> None:
        self.regained: int = 0
        """How many messages were recognised."""
        self._inflight = inflight
        self._running: defaultdict[Key, deque[Held]] = defaultdict(deque)
        self._ended: dict[Key, Item] = {}
        self._watching = False
        self._settled: deque[list[Key]] = deque()
        self._count = 0
        """How many keys are in `_settled`."""
        self._unanswered: dict[Key, None] = {}
        """Of the runs that were settled last over connections that are gone."""
        self._lock = threading.Lock()

    def lose(self) -> None:
        """Note that what is held now belongs to a connection that is gone, and watch what is settled from now on."""
        with self._lock:
            self._watching = True
            self._unanswered |= dict.fromkeys(key for keys in self._settled for key in keys)
            for key in list(self._unanswered)[:-REMEMBERED]:
                del self._unanswered[key]
            self._settled.clear()
            self._count = 0
            self._running.clear()
            for held in self._inflight.all():
                if held.delivery is not None:
                    self._running[_key(held.delivery)].append(held)

    def settle(self, items: Sequence[Item]) -> None:
        """Remember runs that were settled, where it is not certain that the broker knows."""
        if not self._watching:
            return
        keys = [
            _key(item.verdict.delivery)
            for item in items
            if item.verdict.action is Action.ACK and item.verdict.delivery is not None
        ]
        with self._lock:
            self._settled.append(keys)
            self._count += len(keys)
            while self._count - len(self._settled[0]) >= REMEMBERED:
                self._count -= len(self._settled.popleft())

    def refuse(self, item: Item) -> Item | None:
        """Forget a run whose verdict was refused; return the item to settle instead, if its message came meanwhile."""
        held, verdict = item.held, item.verdict
        if held is None:
            return None
        with self._lock:
            if held.delivery is not None and held.delivery is not verdict.delivery:
                return Item(replace(verdict, delivery=held.delivery), held, item.outcome)
            self._inflight.remove([held.request.key])
            if item.outcome is not None and verdict.delivery is not None and verdict.action is not Action.RELEASE:
                self._ended[_key(verdict.delivery)] = item
                if len(self._ended) > REMEMBERED:
                    del self._ended[next(iter(self._ended))]
        return None

    def recognise(self, deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Item]]:
        """Return what is to be admitted, and what is to be settled at once since it has run here."""
        if not self._running and not self._ended and not self._unanswered:
            return list(deliveries), []
        fresh: list[Delivery] = []
        done: list[Item] = []
        with self._lock:
            for delivery in deliveries:
                key = _key(delivery)
                if delivery.deliveries == 1:
                    # Sent anew under an id that was used before.
                    self._unanswered.pop(key, None)
                    fresh.append(delivery)
                elif not (self._continue(key, delivery) or self._settle(key, delivery, done)):
                    fresh.append(delivery)
        found = len(deliveries) - len(fresh)
        if found:
            self.regained += found
            logger.info("%d messages of runs of this worker came back to it", found, extra={"event": "regained"})
        return fresh, done

    def _continue(self, key: Key, delivery: Delivery) -> bool:
        """Give the message to its run, if that goes on; the lock is held."""
        runs = self._running.get(key, ())
        while runs:
            held = runs.popleft()
            if self._inflight.get(held.request.key) is held:
                held.delivery = delivery
                return True
        self._running.pop(key, None)
        return False

    def _settle(self, key: Key, delivery: Delivery, done: list[Item]) -> bool:
        """Settle the message as its run was, if that is remembered; the lock is held."""
        if key in self._unanswered:
            del self._unanswered[key]
            done.append(Item(Verdict(delivery=delivery)))
            return True
        item = self._ended.pop(key, None)
        if item is None:
            return False
        done.append(Item(replace(item.verdict, delivery=delivery), item.held, item.outcome))
        return True


def _key(delivery: Delivery) -> Key:
    """Tell one try of one task on one queue from all others."""
    headers = delivery.message.headers
    return delivery.queue, headers.get("id"), headers.get("retries") or 0
