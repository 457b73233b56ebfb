"""The lease of one holder, and returning what lapsed leases held.

A lease lasts until a moment of the machine's monotonic clock, which no correction of the date moves.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from celeriac_sqlite._database import Transaction
from celeriac_sqlite._moments import latest_start
from celeriac_sqlite._statements import affect, select

__all__ = ["Leases", "reclaim"]


class Leases:
    """What one connection knows of its holder's lease. Used inside write transactions only, so one at a time.

    Leases have ids that grow. The holder's changes only when the one it had was ended: `renew` must say so then,
    even if a take noticed it first.
    """

    def __init__(self, holder: str, seconds: float) -> None:
        self.seconds = seconds
        self._holder = holder
        self._id: int | None = None
        self._replaced = False

    def ensure(self, transaction: Transaction, now: float) -> tuple[int, float | None]:
        """Return what lapsed leases held; return the id of this holder's lease, and when the next message is due.

        The lease is a new one if there was none. The moment rides along, because a take wants both in one query.
        """
        own, lapsed, due = transaction.execute(
            "SELECT max(CASE WHEN holder = ? AND expires > ? AND expires - seconds <= ? THEN id END),"
            " total(expires <= ? OR expires - seconds > ?), (SELECT min(due) FROM delayed) FROM lease",
            (self._holder, now, latest_start(now), now, latest_start(now)),
        ).fetchone()
        if lapsed:
            reclaim(transaction, now)
        if own is None:
            own = self._create(transaction, now)
        if own != self._id:
            transaction.committed.append(partial(self._adopt, own))
        return own, due

    def renew(self, transaction: Transaction, now: float) -> bool:
        """Renew the lease; return False, with everything returned and a new one in force, if it had lapsed."""
        row = transaction.execute(
            "SELECT id, expires > ? AND expires - seconds <= ? FROM lease WHERE holder = ?",
            (now, latest_start(now), self._holder),
        ).fetchone()
        if row is not None and row[1] and not self._replaced and self._id in (None, row[0]):
            own = row[0]
            transaction.execute(
                "UPDATE lease SET expires = ?, seconds = ? WHERE id = ?", (now + self.seconds, self.seconds, own)
            )
            kept = True
        else:
            kept = row is None and self._id is None
            if row is not None:
                _end(transaction, [row[0]])
            own = self._create(transaction, now)
        transaction.committed.append(partial(self._begin, own))
        return kept

    def retain(self, transaction: Transaction, ids: Collection[int], now: float) -> int:
        """Put back, uncounted, what this holder holds beyond `ids`; return how many that were."""
        own, _ = self.ensure(transaction, now)
        held = transaction.execute("SELECT id FROM held WHERE lease = ?", (own,)).fetchall()
        unknown = [id_ for (id_,) in held if id_ not in ids]
        queues = select(transaction.connection, "SELECT DISTINCT queue FROM held WHERE id IN (??)", unknown)
        affect(
            transaction.connection,
            "INSERT INTO ready (queue, rank, id, deliveries, size)"
            " SELECT queue, rank, id, deliveries - 1, size FROM held WHERE id IN (??)",
            unknown,
        )
        affect(transaction.connection, "DELETE FROM held WHERE id IN (??)", unknown)
        transaction.bells.update(queue for (queue,) in queues)
        return len(unknown)

    def resign(self, transaction: Transaction) -> None:
        """End the lease if it holds nothing."""
        transaction.execute(
            "DELETE FROM lease WHERE id = ? AND NOT EXISTS (SELECT 1 FROM held WHERE lease = ?)", (self._id, self._id)
        )

    def _create(self, transaction: Transaction, now: float) -> int:
        cursor = transaction.execute(
            "INSERT INTO lease (holder, expires, seconds) VALUES (?, ?, ?)",
            (self._holder, now + self.seconds, self.seconds),
        )
        return int(cursor.lastrowid or 0)

    def _adopt(self, own: int) -> None:
        self._replaced = self._replaced or self._id is not None
        self._id = own

    def _begin(self, own: int) -> None:
        self._replaced = False
        self._id = own

    @property
    def known(self) -> bool:
        """Whether this connection ever had a lease."""
        return self._id is not None


def reclaim(transaction: Transaction, now: float) -> None:
    """End the leases that have lapsed."""
    rows = transaction.execute(
        "SELECT id FROM lease WHERE expires <= ? OR expires - seconds > ?", (now, latest_start(now))
    ).fetchall()
    _end(transaction, [id_ for (id_,) in rows])


def _end(transaction: Transaction, leases: list[int]) -> None:
    """End leases and return what they hold to its queues, in its old place, the delivery counted."""
    queues = select(transaction.connection, "SELECT DISTINCT queue FROM held WHERE lease IN (??)", leases)
    affect(
        transaction.connection,
        "INSERT INTO ready (queue, rank, id, deliveries, size)"
        " SELECT queue, rank, id, deliveries, size FROM held WHERE lease IN (??)",
        leases,
    )
    affect(transaction.connection, "DELETE FROM held WHERE lease IN (??)", leases)
    affect(transaction.connection, "DELETE FROM lease WHERE id IN (??)", leases)
    transaction.bells.update(queue for (queue,) in queues)
