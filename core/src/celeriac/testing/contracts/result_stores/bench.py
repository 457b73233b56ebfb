"""A bench for result stores: short ways to put, to read, and to hear of changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.spi.results import Expires, Joins, ResultStore, Waits
from celeriac.testing.contracts.bench import TIMEOUT, Bench

__all__ = ["LATER", "ResultStoreTests", "ResultsBench", "record"]

LATER = 1.0
"""When records expire: long enough to be read before, short enough to be waited for."""


def record(id_: str, state: str = SUCCESS, payload: bytes = b"{}", **fields: Any) -> ResultRecord:
    """Make a record."""
    return ResultRecord(id=id_, state=state, payload=payload, **fields)


class ResultsBench(Bench[ResultStore]):
    """A fresh result store."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, "results")

    def require_waits(self, store: ResultStore) -> Waits:
        """Return the store as one that pushes, or skip the test."""
        if not store.capabilities.waits:
            pytest.skip("the result store does not declare waits")
        assert isinstance(store, Waits)
        return store

    def require_joins(self, store: ResultStore) -> Joins:
        """Return the store as one that counts the members of joins, or skip the test."""
        if not store.capabilities.joins:
            pytest.skip("the result store does not declare joins")
        assert isinstance(store, Joins)
        return store

    def require_expiry(self, store: ResultStore) -> None:
        """Skip the test unless records expire."""
        if store.capabilities.expires == "never":
            pytest.skip("the result store declares that records never expire")

    def put(self, store: ResultStore, *records: ResultRecord) -> None:
        """Store records."""
        store.put(records, timeout=TIMEOUT)

    def get(self, store: ResultStore, *ids: str) -> dict[str, ResultRecord]:
        """Read records, without what says when they expire."""
        found = store.get(ids, timeout=TIMEOUT)
        return {id_: record(one.id, one.state, one.payload) for id_, one in found.items()}

    def state_of(self, store: ResultStore, id_: str) -> str | None:
        """Return the state of one record."""
        found = store.get([id_], timeout=TIMEOUT)
        return found[id_].state if found else None

    def sweep(self, store: ResultStore, limit: int = 1000) -> int:
        """Sweep if this is how the store drops expired records."""
        return store.sweep(limit=limit, timeout=TIMEOUT) if isinstance(store, Expires) else 0

    def announced(self, store: Waits) -> dict[str, ResultRecord]:
        """Return what the store announces next, or nothing if it announces nothing; early empty answers are allowed."""
        for _ in range(20):
            found = self.drive(self.background(lambda: store.changed(timeout=0.1)))
            if found:
                return found
        return {}

    def silent(self, store: Waits) -> bool:
        """Return whether the store announces nothing."""
        return not any(self.drive(self.background(lambda: store.changed(timeout=0.05))) for _ in range(2))


class ResultStoreTests:
    """What the parts of the suite have in common: where the bench comes from."""

    harness: ClassVar[Any]
    """The harness module of the plugin."""

    @pytest.fixture
    def bench(self) -> Iterator[ResultsBench]:
        """Give each test a fresh store."""
        with ResultsBench(self.harness) as bench:
            yield bench
