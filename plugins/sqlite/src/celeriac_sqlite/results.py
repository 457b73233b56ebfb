"""The result store: one row per task, announced by the doorbell."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from celeriac.errors import StoreLost
from celeriac.model.address import Address
from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac.model.record import ResultRecord
from celeriac.spi.results import Expires, Joins, ResultStore, Waits
from celeriac.spi.service import Context
from celeriac_sqlite import _joins, _records
from celeriac_sqlite._database import Database
from celeriac_sqlite._doorbell import RESULTS, Doorbell
from celeriac_sqlite._statements import affect, select
from celeriac_sqlite.plugin import OPTIONS, RESULT_CAPABILITIES

__all__ = ["SqliteResultStore"]

_LOOK_SECONDS = 5.0
"""How long a look waits for the database, however short the caller's own time-out."""
_NEW = "SELECT id FROM result WHERE state IN ('SUCCESS', 'FAILURE', 'REVOKED') AND seq > ? AND seq <= ?"


class SqliteResultStore(ResultStore, Waits, Expires, Joins):
    """A connection to the results in a database file.

    Every row that is written gets a number above all earlier ones. Who waits remembers the last number seen and,
    when rung, reads either the rows since or those of the awaited ids, whichever are fewer.
    """

    capabilities = RESULT_CAPABILITIES
    options = OPTIONS

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self._database = Database(address, self.option, self.clock, lost=StoreLost)
        self._doorbell = Doorbell(self._database, self.clock, self.option["poll_seconds"])
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._seen: int | None = None
        self._closed = False

    @property
    def path(self) -> Path:
        """The database file, all links resolved."""
        return self._database.path

    def _open(self, timeout: float) -> None:
        self._database.open(timeout)

    def _close(self) -> None:
        self._closed = True
        self._doorbell.close()
        self._database.close()

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        with self._database.write("put", timeout) as transaction:
            _records.write(transaction, records, self.clock.time())

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        with self._database.read("get", timeout) as connection:
            return _records.read(connection, ids, self.clock.time())

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        with self._database.write("delete", timeout) as transaction:
            return affect(transaction.connection, "DELETE FROM result WHERE id IN (??)", list(ids))

    # -- waiting ---------------------------------------------------------------------------------------------

    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        if self._seen is None:
            with self._database.read("watch", timeout) as connection:
                seen = _last(connection)
            with self._lock:
                self._seen = seen if self._seen is None else self._seen
        self._doorbell.listen([RESULTS], timeout)
        with self._lock:
            self._watched.update(ids)

    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._lock:
            self._watched.difference_update(ids)

    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        end = self.clock.monotonic() + timeout
        while not self._closed:
            found = self._look(max(timeout, _LOOK_SECONDS))
            left = end - self.clock.monotonic()
            if found or left <= 0:
                return found
            if not self._doorbell.listen([RESULTS], _LOOK_SECONDS):
                self._doorbell.wait(left)
        return {}

    def _look(self, timeout: float) -> dict[str, ResultRecord]:
        """Return the awaited records that have become ready since the last look."""
        with self._database.read("changed", timeout) as connection:
            last = _last(connection)
            with self._lock:
                seen = last if self._seen is None else self._seen
                few = list(self._watched) if len(self._watched) < last - seen else None
            if last <= seen:
                return {}
            if few is None:
                new = {id_ for (id_,) in connection.execute(_NEW, (seen, last))}
            else:
                new = {id_ for (id_,) in select(connection, _NEW + " AND id IN (??)", few, seen, last)}
            with self._lock:
                new &= self._watched
                self._seen = last
            return _records.read(connection, new, self.clock.time())

    # -- joins -----------------------------------------------------------------------------------------------

    def open_joins(self, joins: Sequence[Join], *, timeout: float) -> None:
        with self._database.write("open_joins", timeout) as transaction:
            _joins.open_all(transaction, joins, self.clock.time())

    def grow(self, growths: Sequence[Growth], *, timeout: float) -> None:
        with self._database.write("grow", timeout) as transaction:
            _joins.grow(transaction, growths)

    def give(self, parts: Sequence[Part], *, timeout: float) -> list[Message]:
        with self._database.write("give", timeout) as transaction:
            return _joins.give(transaction, parts, once=False)

    def parts(self, join: str, *, timeout: float) -> list[Part]:
        with self._database.read("parts", timeout) as connection:
            return _joins.read(connection, join)

    def close_joins(self, ids: Collection[str], *, timeout: float) -> None:
        with self._database.write("close_joins", timeout) as transaction:
            _joins.close(transaction, ids)

    # -- expiry ----------------------------------------------------------------------------------------------

    def sweep(self, *, limit: int, timeout: float) -> int:
        with self._database.write("sweep", timeout, durable=False) as transaction:
            gone = transaction.execute(
                "DELETE FROM result WHERE seq IN (SELECT seq FROM result WHERE expires <= ? ORDER BY expires LIMIT ?)",
                (self.clock.time(), limit),
            ).rowcount
            _joins.sweep(transaction, self.clock.time(), limit)
        self._database.tend()
        return gone


def _last(connection: sqlite3.Connection) -> int:
    """Return the number of the newest row; rows that were deleted do not lower it."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'result'").fetchone()
    return row[0] if row else 0
