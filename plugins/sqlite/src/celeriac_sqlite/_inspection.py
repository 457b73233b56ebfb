"""Counting, showing and purging what waits."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection

from celeriac.model.message import Message
from celeriac.spi.transport import QueueDepth
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._envelope import decode_text
from celeriac_sqlite._moments import latest_start

__all__ = ["browse", "depths", "purge"]


_READY = "SELECT queue, count(*) FROM ready GROUP BY queue"
_DELAYED = "SELECT queue, count(*), total(due <= ?) FROM delayed GROUP BY queue"
_HELD = (
    "SELECT h.queue, count(*), total(l.expires <= ? OR l.expires - l.seconds > ?)"
    " FROM held AS h JOIN lease AS l ON l.id = h.lease GROUP BY h.queue"
)


def depths(
    connection: sqlite3.Connection, queues: Collection[str] | None, *, now: float, monotonic: float
) -> list[QueueDepth]:
    """Count the messages of each queue, by name; one that does not exist has none.

    What is due, and what a lapsed lease held, waits, although only the next take will move it.
    """
    names = dict(connection.execute("SELECT name, id FROM queue"))
    waiting: Counter[int] = Counter(dict(connection.execute(_READY)))
    delayed: Counter[int] = Counter()
    held: Counter[int] = Counter()
    for counter, rows in (
        (delayed, connection.execute(_DELAYED, (now,))),
        (held, connection.execute(_HELD, (monotonic, latest_start(monotonic)))),
    ):
        for queue, count, really_waiting in rows:
            counter[queue] = count - int(really_waiting)
            waiting[queue] += int(really_waiting)
    wanted = names if queues is None else dict.fromkeys(queues)
    return [
        QueueDepth(
            queue=name,
            waiting=waiting[names.get(name, 0)],
            delayed=delayed[names.get(name, 0)],
            held=held[names.get(name, 0)],
            oldest_seconds=_oldest(connection, names.get(name, 0), now),
        )
        for name in sorted(wanted)
    ]


def _oldest(connection: sqlite3.Connection, queue: int, now: float) -> float | None:
    """Return the age of the first message published that waits; ids grow with time, so the least one is it."""
    row = connection.execute(
        "SELECT moment FROM message WHERE id = (SELECT min(id) FROM ready WHERE queue = ?)", (queue,)
    ).fetchone()
    return max(now - row[0], 0.0) if row else None


def browse(connection: sqlite3.Connection, queue: str, limit: int) -> list[Message]:
    """Show what would come next: what is ready, then what is delayed, by the moment it is due."""
    rows = connection.execute(
        "SELECT m.text, b.data FROM queue AS q JOIN ready AS r ON r.queue = q.id JOIN message AS m ON m.id = r.id"
        " LEFT JOIN body AS b ON b.id = m.id WHERE q.name = ? ORDER BY r.rank, r.id LIMIT ?",
        (queue, limit),
    ).fetchall()
    rows += connection.execute(
        "SELECT m.text, b.data FROM queue AS q JOIN delayed AS d ON d.queue = q.id JOIN message AS m ON m.id = d.id"
        " LEFT JOIN body AS b ON b.id = m.id WHERE q.name = ? ORDER BY d.due, d.id LIMIT ?",
        (queue, limit - len(rows)),
    ).fetchall()
    return [decode_text(text, body) for text, body in rows]


def purge(transaction: Transaction, queue: str) -> int:
    """Delete what waits and what is delayed; return how many messages that was."""
    execute = transaction.execute
    row = execute("SELECT id FROM queue WHERE name = ?", (queue,)).fetchone()
    if row is None:
        return 0
    both = (row[0], row[0])
    execute(
        "DELETE FROM body WHERE id IN (SELECT id FROM ready WHERE queue = ? AND size"
        " UNION ALL SELECT id FROM delayed WHERE queue = ? AND size)",
        both,
    )
    execute(
        "DELETE FROM message WHERE id IN (SELECT id FROM ready WHERE queue = ?"
        " UNION ALL SELECT id FROM delayed WHERE queue = ?)",
        both,
    )
    gone = execute("DELETE FROM ready WHERE queue = ?", both[:1]).rowcount
    return gone + execute("DELETE FROM delayed WHERE queue = ?", both[:1]).rowcount
