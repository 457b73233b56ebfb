"""The coordinator: leases, token buckets, semaphores and expiring sets, each operation one transaction.

Leases, seats and buckets measure durations, so they go by the machine's monotonic clock, which a corrected date does
not move. Sets are remembered for days and over restarts, so they go by the date.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from celeriac.errors import ConfigurationError, StoreLost
from celeriac.model.address import Address
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.service import Context
from celeriac_sqlite._database import Database, Transaction
from celeriac_sqlite._moments import latest_start
from celeriac_sqlite._statements import affect, insert, select
from celeriac_sqlite.plugin import COORDINATOR_CAPABILITIES, OPTIONS

__all__ = ["SqliteCoordinator"]

_SWEPT = 20
"""Lapsed rows that one operation clears away of its kind, so that nothing piles up and nobody waits for it."""


class SqliteCoordinator(Coordinator):
    """A connection to a coordinator in a database file."""

    capabilities = COORDINATOR_CAPABILITIES
    options = OPTIONS

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self._database = Database(address, self.option, self.clock, lost=StoreLost)

    def _open(self, timeout: float) -> None:
        self._database.open(timeout)

    def _close(self) -> None:
        self._database.close()

    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None:
        with self._database.write("lease", timeout) as transaction:
            now = self.clock.monotonic()
            execute = transaction.execute
            execute(
                "DELETE FROM lock WHERE name = ? AND (expires <= ? OR expires - seconds > ?)",
                (name, now, latest_start(now)),
            )
            row = execute("SELECT token, owner FROM lock WHERE name = ?", (name,)).fetchone()
            if row is not None and row[1] != owner:
                return None
            if ttl <= 0:
                execute("DELETE FROM lock WHERE name = ?", (name,))
                return None
            if row is not None:
                execute("UPDATE lock SET expires = ?, seconds = ? WHERE token = ?", (now + ttl, ttl, row[0]))
                return int(row[0])
            _sweep(
                transaction, "DELETE FROM lock WHERE token IN (SELECT token FROM lock WHERE expires <= ? LIMIT ?)", now
            )
            cursor = execute(
                "INSERT INTO lock (name, owner, expires, seconds) VALUES (?, ?, ?, ?)", (name, owner, now + ttl, ttl)
            )
            return int(cursor.lastrowid or 0)

    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float:
        if amount > capacity:
            raise ConfigurationError(
                f"Bucket {bucket!r} holds {capacity:g} tokens and can never give {amount:g}. Raise its capacity."
            )
        with self._database.write("take", timeout, durable=False) as transaction:
            now = self.clock.monotonic()
            level = min(capacity, _level(transaction, bucket, rate, now, capacity))
            if level < amount:
                return (amount - level) / rate if rate > 0 else math.inf
            level -= amount
            full = now + (capacity - level) / rate if rate > 0 else math.inf
            # A bucket that is full again is the same as none.
            _sweep(
                transaction, "DELETE FROM bucket WHERE name IN (SELECT name FROM bucket WHERE full <= ? LIMIT ?)", now
            )
            transaction.execute(
                "INSERT OR REPLACE INTO bucket (name, level, moment, full) VALUES (?, ?, ?, ?)",
                (bucket, level, now, full),
            )
            return 0.0

    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool:
        with self._database.write("enter", timeout, durable=False) as transaction:
            now = self.clock.monotonic()
            execute = transaction.execute
            execute(
                "DELETE FROM seat WHERE key = ? AND (expires <= ? OR expires - seconds > ?)",
                (key, now, latest_start(now)),
            )
            if ttl <= 0:
                execute("DELETE FROM seat WHERE key = ? AND owner = ?", (key, owner))
                return False
            inside, taken = execute(
                "SELECT coalesce(max(owner = ?), 0), count(*) FROM seat WHERE key = ?", (owner, key)
            ).fetchone()
            if not inside and taken >= limit:
                return False
            _sweep(
                transaction,
                "DELETE FROM seat WHERE (key, owner) IN (SELECT key, owner FROM seat WHERE expires <= ? LIMIT ?)",
                now,
            )
            execute(
                "INSERT OR REPLACE INTO seat (key, owner, expires, seconds) VALUES (?, ?, ?, ?)",
                (key, owner, now + ttl, ttl),
            )
            return True

    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None:
        with self._database.write("remember", timeout) as transaction:
            connection = transaction.connection
            now = self.clock.time()
            if ttl <= 0:
                affect(connection, "DELETE FROM member WHERE name = ? AND member IN (??)", list(members), name)
                return
            values = [value for member in members for value in (name, member, now + ttl)]
            insert(connection, "INSERT OR REPLACE INTO member (name, member, expires) VALUES ??", 3, values)
            _sweep(
                transaction,
                "DELETE FROM member WHERE (name, member) IN"
                " (SELECT name, member FROM member WHERE expires <= ? LIMIT ?)",
                now,
            )

    def _recall(self, name: str, members: Collection[str], timeout: float) -> set[str]:
        with self._database.read("recall", timeout) as connection:
            rows = select(
                connection,
                "SELECT member FROM member WHERE name = ? AND expires > ? AND member IN (??)",
                list(members),
                name,
                self.clock.time(),
            )
        return {member for (member,) in rows}


def _sweep(transaction: Transaction, sql: str, now: float) -> None:
    transaction.execute(sql, (now, _SWEPT))


def _level(transaction: Transaction, bucket: str, rate: float, now: float, capacity: float) -> float:
    """Return the tokens in a bucket now; one that is not there, or is of before a restart, is full."""
    row = transaction.execute("SELECT level, moment FROM bucket WHERE name = ?", (bucket,)).fetchone()
    if row is None or row[1] > latest_start(now):
        return capacity
    level: float = row[0] + max(now - row[1], 0.0) * rate
    return level
