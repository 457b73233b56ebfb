"""A bench for result stores: short ways to put, to read, and to hear of changes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.spi.results import Expires, Joins, Replies, ResultStore, Waits
from celeriac.testing.contracts.bench import TIMEOUT, Bench

__all__ = ["LATER", "ResultStoreTests", "ResultsBench", "record"]

LATER = 1.0
"""When records expire: long enough to be read before, short enough to be waited for."""


def record(id_: str, state: str = SUCCESS, payload: bytes = b"{}", **fields: Any) -> ResultRecord:
    """Make a record."""
    return ResultRecord(id=id_, state=state, payload=payload, **fields)


class ResultsBench(Bench[ResultStore]):
    """A fresh result store.

    Where it `replies`, the test is the caller: what `connect` returns listens under a name of the test, `put` sends
    there and returns once that has arrived.
    """

    def __init__(self, module: Any) -> None:
        super().__init__(module, "results")
        self._name = uuid.uuid4().hex

    def connect(self, holder: str = "a", **options: Any) -> ResultStore:
        """Return a new, open connection, which listens if the store replies."""
        store = super().connect(holder, **options)
        self.listen(store)
        return store

    def address(self, name: str = "") -> str:
        """Return what records for one who listens under a name of this test have as `reply_to`."""
        return self._name + name

    def listen(self, store: ResultStore, name: str = "") -> None:
        """Have a store that replies listen."""
        if isinstance(store, Replies):
            store.listen(self.address(name), timeout=TIMEOUT)

    def require_replies(self, store: ResultStore) -> Replies:
        """Return the store as one that sends records to who asked, or skip the test."""
        if not store.capabilities.replies:
            pytest.skip("the result store does not declare replies")
        assert isinstance(store, Replies)
        return store

    def require_kept(self, store: ResultStore) -> None:
        """Skip the test unless records are kept for others than the caller."""
        if store.capabilities.reach == "caller":
            pytest.skip("the result store declares that only the caller reads")

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
        """Store records, or send them and wait until they are here."""
        if isinstance(store, Replies):
            self.send(store, store, *(replace(each, reply_to=self.address()) for each in records))
        else:
            store.put(records, timeout=TIMEOUT)

    def send(self, writer: ResultStore, reader: ResultStore, *records: ResultRecord) -> None:
        """Send records by `writer`; return when `reader`, who listens where the last of them goes, has them."""
        last = record(uuid.uuid4().hex, reply_to=records[-1].reply_to)
        writer.put([*records, last], timeout=TIMEOUT)
        end = time.monotonic() + self.patience
        while not reader.get([last.id], timeout=TIMEOUT):
            if time.monotonic() > end:
                pytest.fail(f"what was sent did not arrive within {self.patience:g} s")
            threading.Event().wait(0.001)
        reader.delete([last.id], timeout=TIMEOUT)

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
