"""Taking messages: one short transaction of a handful of statements, however many messages.

1. Make sure of the lease; return what lapsed leases held; make ready what is due.
2. For each queue, read the first of its ready messages as ONE row of text, move exactly this prefix of the queue
   from `ready` to `held`, and go on while the limit allows.
3. After the commit, decode.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from celeriac.errors import InternalError
from celeriac.model.message import Delivery
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._envelope import decode_lines
from celeriac_sqlite._leases import Leases
from celeriac_sqlite._moments import latest_start
from celeriac_sqlite._statements import select

__all__ = ["Prospect", "Tag", "Taken", "look", "take"]

Tag = tuple[int, int, int]
"""The id of a message, the token of the take that got it, and its size if it is large, else 0."""

_MOST_BYTES = 64 * 1024 * 1024
"""A take ends after so many bytes of large messages; it has at least one message."""
_MOST_ROWS = 10_000
_MOST_DUE = 5_000
"""Delayed messages that one take makes ready, so that a million due at once stop nobody for long."""
_TOKEN_BITS = 62


class Prospect(Struct, frozen=True):
    """Whether a take would get something, and in how many seconds something may be there to get."""

    ready: bool
    wait_seconds: float


class Taken(Struct, frozen=True):
    """What a take got of one queue, not decoded yet."""

    queue: str
    token: int
    lines: str
    bodies: dict[int, bytes]

    def deliveries(self) -> list[Delivery]:
        """Decode the messages."""
        found = []
        for line in decode_lines(self.lines):
            message = line.message
            if line.id in self.bodies:
                message = msgspec.structs.replace(message, body=self.bodies[line.id])
            tag = (line.id, self.token, line.size)
            found.append(Delivery(message=message, queue=self.queue, tag=tag, deliveries=line.deliveries))
        return found


def look(connection: sqlite3.Connection, queues: Sequence[int], now: float, monotonic: float) -> Prospect:
    """See whether a take is worth the lock on the database."""
    (ready,) = select(connection, "SELECT count(*) FROM (SELECT 1 FROM ready WHERE queue IN (??) LIMIT 1)", queues)[0]
    due, lapse, excess = connection.execute(
        "SELECT (SELECT min(due) FROM delayed), min(expires), max(expires - seconds) FROM lease"
    ).fetchone()
    waits = [60.0]
    if due is not None:
        waits.append(due - now)
    if lapse is not None:
        waits.append(lapse - monotonic if excess <= latest_start(monotonic) else 0.0)
    return Prospect(bool(ready) or min(waits) <= 0, max(min(waits), 0.0))


def take(
    transaction: Transaction, leases: Leases, queues: dict[str, int], *, limit: int, now: float, monotonic: float
) -> list[Taken]:
    """Move up to `limit` messages of the first of `queues` that have some into the hands of this holder."""
    lease, due = leases.ensure(transaction, monotonic)
    if due is not None and due <= now:
        _make_ready(transaction, now)
    left = min(limit, _MOST_ROWS)
    token = secrets.randbits(_TOKEN_BITS)
    found: list[Taken] = []
    for name, queue in queues.items():
        count, taken = _take_from(transaction, name, queue, lease, token, limit=left)
        left -= count
        if taken is not None:
            found.append(taken)
            if left <= 0 or taken.bodies:
                break
    return found


def _make_ready(transaction: Transaction, now: float) -> None:
    """Move the messages that are due, the longest due first, at most `_MOST_DUE`."""
    execute = transaction.execute
    rows = execute(
        "SELECT DISTINCT queue FROM (SELECT queue FROM delayed WHERE due <= ? ORDER BY due, id LIMIT ?)",
        (now, _MOST_DUE),
    ).fetchall()
    last = execute(
        "SELECT due, id FROM delayed WHERE due <= ? ORDER BY due, id LIMIT 1 OFFSET ?", (now, _MOST_DUE - 1)
    ).fetchone()
    # The last of them all has the greatest id there is.
    due, id_ = last or (now, (1 << 63) - 1)
    execute(
        "INSERT INTO ready (queue, rank, id, deliveries, size)"
        " SELECT queue, rank, id, deliveries, size FROM delayed WHERE (due, id) <= (?, ?)",
        (due, id_),
    )
    execute("DELETE FROM delayed WHERE (due, id) <= (?, ?)", (due, id_))
    transaction.bells.update(queue for (queue,) in rows)


_FIRST = (
    "SELECT group_concat('[' || id || ',' || deliveries || ',' || size || ',' || text || ']', char(10)), count(*),"
    " max(rank), total(size) FROM (SELECT r.id, r.rank, r.deliveries + 1 AS deliveries, r.size, m.text"
    " FROM ready AS r CROSS JOIN message AS m ON m.id = r.id WHERE r.queue = ? ORDER BY r.rank, r.id LIMIT ?)"
)
_SIZES = "SELECT size FROM ready WHERE queue = ? ORDER BY rank, id LIMIT ?"
_TAKE = (
    "INSERT INTO held (id, lease, token, queue, rank, deliveries, size)"
    " SELECT id, ?, ?, queue, rank, deliveries + 1, size FROM ready WHERE queue = ? AND (rank, id) <= (?, ?)"
)
_LEAVE = "DELETE FROM ready WHERE queue = ? AND (rank, id) <= (?, ?)"


def _take_from(
    transaction: Transaction, name: str, queue: int, lease: int, token: int, *, limit: int
) -> tuple[int, Taken | None]:
    execute = transaction.execute
    lines, count, rank, large = _first(transaction, queue, limit)
    if not count:
        return 0, None
    # Ready messages are taken in their order, so those taken are all up to the last one.
    last = int(lines[lines.rfind("\n") + 2 :].partition(",")[0])
    execute(_TAKE, (lease, token, queue, rank, last))
    if execute(_LEAVE, (queue, rank, last)).rowcount != count:
        raise InternalError("A take moved other messages than it read. Please report this, with the traceback.")
    bodies: dict[int, bytes] = {}
    if large:
        bodies = dict(
            execute(
                "SELECT b.id, b.data FROM held AS h CROSS JOIN body AS b ON b.id = h.id WHERE h.token = ?", (token,)
            )
        )
    return count, Taken(name, token, lines, bodies)


def _first(transaction: Transaction, queue: int, limit: int) -> tuple[str, int, int, float]:
    """Read the first messages of a queue: all of them that one take may have."""
    row: tuple[str, int, int, float] | None = None
    with contextlib.suppress(sqlite3.DataError):  # longer than SQLite's longest text
        row = transaction.execute(_FIRST, (queue, limit)).fetchone()
    if row is None or row[3] > _MOST_BYTES:
        count = _within_bytes(transaction.execute(_SIZES, (queue, limit)).fetchall())
        row = transaction.execute(_FIRST, (queue, count)).fetchone()
    return row


def _within_bytes(sizes: list[tuple[int]]) -> int:
    """Return how many of the first messages stay below `_MOST_BYTES`, at least one."""
    total = 0
    for count, (size,) in enumerate(sizes):
        total += size
        if total > _MOST_BYTES and count:
            return count
    return len(sizes)
