"""A result store inside one process."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from celeriac.model.address import Address
from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac.model.record import ResultRecord
from celeriac.spi.results import Expires, Joins, ResultStore, Waits
from celeriac.spi.service import Context
from celeriac_memory.plugin import RESULT_CAPABILITIES
from celeriac_memory.records import Subscription
from celeriac_memory.store import MemoryStore, store_at

__all__ = ["MemoryResults"]


class MemoryResults(ResultStore, Waits, Expires, Joins):
    """Every method is one step under the store's lock; only `changed` waits, on `answers`."""

    capabilities = RESULT_CAPABILITIES

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self.store: MemoryStore = store_at(address)
        self._records = self.store.records
        self._subscription = Subscription()
        self._open_now = False

    def _open(self, timeout: float) -> None:
        self._open_now = True

    def _close(self) -> None:
        with self.store.lock:
            self._open_now = False
            self._records.unwatch(self._subscription, list(self._subscription.ids))
            self.store.answers.notify_all()

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        with self.store.lock:
            self._check_open()
            self._records.put(records, self.clock.monotonic())
            self.store.answers.notify_all()

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        with self.store.lock:
            self._check_open()
            return self._records.get(ids, self.clock.monotonic())

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        with self.store.lock:
            self._check_open()
            return self._records.delete(ids, self.clock.monotonic())

    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("watch"), self.store.lock:
            self._check_open()
            self._records.watch(self._subscription, ids)

    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("unwatch"), self.store.lock:
            self._check_open()
            self._records.unwatch(self._subscription, ids)

    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        with self._call("changed"), self.store.lock:
            self._check_open()
            deadline = self.clock.monotonic() + timeout
            while self._open_now and not self._subscription.ready:
                left = deadline - self.clock.monotonic()
                if left <= 0:
                    break
                self.clock.wait(self.store.answers, left)
            ready, self._subscription.ready = self._subscription.ready, {}
            return ready

    def sweep(self, *, limit: int, timeout: float) -> int:
        with self._call("sweep"), self.store.lock:
            self._check_open()
            return self._records.sweep(limit, self.clock.monotonic())

    def open_joins(self, joins: Sequence[Join], *, timeout: float) -> None:
        with self._call("open_joins"), self.store.lock:
            self._check_open()
            self.store.joins.open(joins, self.clock.monotonic())

    def grow(self, growths: Sequence[Growth], *, timeout: float) -> None:
        with self._call("grow"), self.store.lock:
            self._check_open()
            self.store.joins.grow(growths)

    def give(self, parts: Sequence[Part], *, timeout: float) -> list[Message]:
        with self._call("give"), self.store.lock:
            self._check_open()
            return self.store.joins.give(parts, self.clock.monotonic())

    def parts(self, join: str, *, timeout: float) -> list[Part]:
        with self._call("parts"), self.store.lock:
            self._check_open()
            return self.store.joins.parts(join, self.clock.monotonic())

    def close_joins(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("close_joins"), self.store.lock:
            self._check_open()
            self.store.joins.close(ids)

    def _check_open(self) -> None:
        if not self._open_now:
            raise self.lost_error(f"{self.address}: this connection is not open.")
