"""A coordinator inside one process."""

from __future__ import annotations

from collections.abc import Collection

from celeriac.model.address import Address
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.service import Context
from celeriac_memory.agreements import Agreements
from celeriac_memory.plugin import COORDINATOR_CAPABILITIES
from celeriac_memory.store import store_at

__all__ = ["MemoryCoordinator"]


class MemoryCoordinator(Coordinator):
    """Every method is one step under the store's lock."""

    capabilities = COORDINATOR_CAPABILITIES

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self._store = store_at(address)
        self._open_now = False

    def _open(self, timeout: float) -> None:
        self._open_now = True

    def _close(self) -> None:
        self._open_now = False

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        with self._store.lock:
            return self._agreements.lease(name, owner, ttl, self.clock.monotonic())

    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        with self._store.lock:
            return self._agreements.take(bucket, rate, capacity, amount, self.clock.monotonic())

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        with self._store.lock:
            return self._agreements.enter(key, owner, limit, ttl, self.clock.monotonic())

    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None:
        with self._store.lock:
            self._agreements.remember(name, members, ttl, self.clock.monotonic())

    def _recall(self, name: str, members: Collection[str], timeout: float) -> set[str]:
        with self._store.lock:
            return self._agreements.recall(name, members, self.clock.monotonic())

    @property
    def _agreements(self) -> Agreements:
        if not self._open_now:
            raise self.lost_error(f"{self.address}: this connection is not open.")
        return self._store.agreements
