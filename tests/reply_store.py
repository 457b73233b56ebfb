"""A result store that sends records to who asked for them, all within one process: the model of such stores."""

from __future__ import annotations

import sys
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from celeriac.errors import StoreLost
from celeriac.kernel import plugins
from celeriac.model.address import Address
from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.spi.declaration import Declaration
from celeriac.spi.results import Replies, ResultCapabilities, ResultStore, Waits
from celeriac.spi.service import Context
from celeriac.testing.harness import StoreHarness

__all__ = ["OFFICES", "ReplyModule", "ReplyStore", "installed", "results"]


class Office:
    """What all stores of one address share: who listens, and what has arrived for each name."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.listeners: dict[str, list[ReplyStore]] = defaultdict(list)
        self.arrived: dict[str, dict[str, ResultRecord]] = defaultdict(dict)


OFFICES: dict[str, Office] = defaultdict(Office)


class ReplyStore(ResultStore, Replies, Waits):
    """Every method is one step under the office's lock; only `changed` waits."""

    capabilities = ResultCapabilities(waits=True, replies=True, durable=False, reach="caller")

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self.office = OFFICES[address.host or ""]
        self.name = ""
        self.watched: set[str] = set()
        self.ready: dict[str, ResultRecord] = {}
        self.counts: Counter[str] = Counter()
        self.opened = False

    def _open(self, timeout: float) -> None:
        self.opened = True

    def _close(self) -> None:
        with self.office.changed:
            self.opened = False
            listeners = self.office.listeners[self.name]
            if self in listeners:
                listeners.remove(self)
                if not listeners:
                    self.office.arrived.pop(self.name, None)
            self.office.changed.notify_all()

    def listen(self, name: str, *, timeout: float) -> None:
        with self.office.changed:
            self._check_open()
            if self not in self.office.listeners[name]:
                self.name = name
                self.office.listeners[name].append(self)

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        with self.office.changed:
            self._check_open()
            for record in records:
                if self.office.listeners[record.reply_to]:
                    self._deliver(record)
                else:
                    self.counts["dropped"] += 1
            self.office.changed.notify_all()

    def _deliver(self, record: ResultRecord) -> None:
        arrived = self.office.arrived[record.reply_to]
        old = arrived.get(record.id)
        if old is None or (old.state != SUCCESS and (record.ready or not old.ready)):
            arrived[record.id] = replace(record, reply_to="")
            for store in self.office.listeners[record.reply_to]:
                if record.ready and record.id in store.watched:
                    store.ready[record.id] = arrived[record.id]

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        with self.office.changed:
            self._check_open()
            arrived = self.office.arrived[self.name] if self.name else {}
            return {id_: arrived[id_] for id_ in ids if id_ in arrived}

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        with self.office.changed:
            self._check_open()
            arrived = self.office.arrived[self.name] if self.name else {}
            return len([arrived.pop(id_) for id_ in ids if id_ in arrived])

    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        with self.office.changed:
            self._check_open()
            self.watched.update(ids)

    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        with self.office.changed:
            self._check_open()
            self.watched.difference_update(ids)

    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        with self.office.changed:
            self._check_open()
            self.office.changed.wait_for(lambda: self.ready or not self.opened, timeout)
            found, self.ready = self.ready, {}
            return found

    def _check_open(self) -> None:
        if not self.opened:
            raise StoreLost(f"{self.address}: this connection is not open.")


class ReplyModule:
    """A harness module for one class."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    @contextmanager
    def results(self) -> Iterator[StoreHarness[Any]]:
        host = uuid.uuid4().hex
        yield StoreHarness(self.kind, f"reply://{host}", virtual=False, patience=0.4)
        OFFICES.pop(host, None)


results: Declaration = Declaration(
    spi_version=1,
    target="reply_store:ReplyStore",
    summary="Sends results to who asked for them, within one process.",
    capabilities=ReplyStore.capabilities,
)


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Install the model as the result store `reply` for the while, in a folder that is on the path meanwhile."""
    site = folder / "reply_store-1.0.dist-info"
    site.mkdir()
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: reply-store\nVersion: 1.0\n")
    (site / "entry_points.txt").write_text("[celeriac.results]\nreply = reply_store:results\n")
    sys.path.append(str(folder))
    plugins.clear_cache()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        plugins.clear_cache()
        OFFICES.clear()
