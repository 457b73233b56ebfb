"""A transport inside one process, and the reference for what the interface means."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.routing import Queue
from celeriac.spi.results import ResultStore
from celeriac.spi.service import Context
from celeriac.spi.transport import (
    Commits,
    Declares,
    Inspects,
    KeepsLetters,
    Leases,
    Letter,
    LetterKind,
    QueueDepth,
    Transport,
)
from celeriac_memory.plugin import TRANSPORT_CAPABILITIES, TRANSPORT_OPTIONS
from celeriac_memory.results import MemoryResults
from celeriac_memory.store import store_at

__all__ = ["MemoryTransport"]


class MemoryTransport(Transport, Declares, Leases, Commits, Inspects, KeepsLetters):
    """Every method is one step under the store's lock; only `receive` waits, on `arrivals`."""

    capabilities = TRANSPORT_CAPABILITIES
    options = TRANSPORT_OPTIONS

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self._store = store_at(address)
        self._broker = self._store.broker
        self._open_now = False
        self._woken = False

    @property
    def lease_seconds(self) -> float:
        return float(self.option["lease_seconds"])

    def _open(self, timeout: float) -> None:
        self._open_now = True

    def _close(self) -> None:
        with self._store.lock:
            self._open_now = False
            self._store.arrivals.notify_all()

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        with self._store.lock:
            self._check_open()
            self._broker.publish(messages, self.clock.time())
            self._store.arrivals.notify_all()

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._store.lock:
            self._check_open()
            deadline = self.clock.monotonic() + timeout
            while self._open_now and not self._woken:
                now, tick = self.clock.time(), self.clock.monotonic()
                taken = self._broker.take(
                    self.context.holder, queues, limit, lease_seconds=self.lease_seconds, now=now, tick=tick
                )
                if taken or tick >= deadline:
                    return taken
                change = self._broker.next_change(queues, now, tick)
                left = deadline - tick
                self.clock.wait(self._store.arrivals, left if change is None else min(left, change))
            self._woken = False
            return []

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        with self._store.lock:
            self._check_open()
            tick = self.clock.monotonic()
            now = self.clock.time()
            accepted, refused = self._broker.settle(
                self.context.holder, verdicts, now=now, tick=tick, joins=self._store.joins
            )
            self._store.records.put([record for verdict in accepted for record in verdict.records], tick)
            self._store.arrivals.notify_all()
            self._store.answers.notify_all()
            return refused

    def _wake(self) -> None:
        with self._store.lock:
            self._woken = True
            self._store.arrivals.notify_all()

    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        with self._call("declare"), self._store.lock:
            self._check_open()
            self._broker.declare(queues)

    def renew(self, *, timeout: float) -> bool:
        with self._call("renew"), self._store.lock:
            self._check_open()
            kept = self._broker.renew(
                self.context.holder,
                lease_seconds=self.lease_seconds,
                now=self.clock.time(),
                tick=self.clock.monotonic(),
            )
            if not kept:
                self._store.arrivals.notify_all()
            return kept

    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        with self._call("retain"), self._store.lock:
            self._check_open()
            tags = {delivery.tag for delivery in deliveries}
            count = self._broker.retain(self.context.holder, tags, now=self.clock.time(), tick=self.clock.monotonic())
            self._store.arrivals.notify_all()
            return count

    def commits_with(self, results: ResultStore) -> bool:
        return isinstance(results, MemoryResults) and results.store is self._store

    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        with self._call("depths"), self._store.lock:
            self._check_open()
            return self._broker.depths(queues, self.clock.time(), self.clock.monotonic())

    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        with self._call("browse"), self._store.lock:
            self._check_open()
            return self._broker.browse(queue, limit, self.clock.time(), self.clock.monotonic())

    def purge(self, queue: str, *, timeout: float) -> int:
        with self._call("purge"), self._store.lock:
            self._check_open()
            return self._broker.purge(queue)

    def letters(
        self,
        kind: LetterKind | None = None,
        *,
        limit: int,
        after: str | None = None,
        timeout: float,
    ) -> list[Letter]:
        with self._call("letters"), self._store.lock:
            self._check_open()
            return self._broker.letters(kind, limit, after)

    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        with self._call("replay"), self._store.lock:
            self._check_open()
            replayed = self._broker.replay(ids, self.clock.time())
            self._store.arrivals.notify_all()
            return replayed

    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        with self._call("discard"), self._store.lock:
            self._check_open()
            return self._broker.discard(ids)

    def _check_open(self) -> None:
        if not self._open_now:
            raise self.lost_error(f"{self.address}: this connection is not open.")
