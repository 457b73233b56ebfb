"""Dead and parked messages: listing, replaying, discarding."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from celeriac.spi.transport import Letter, LetterKind
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._envelope import decode_text
from celeriac_sqlite._statements import affect, select

__all__ = ["discard", "letters", "replay"]


def letters(connection: sqlite3.Connection, kind: LetterKind | None, limit: int, after: str | None) -> list[Letter]:
    """List letters, oldest first, beginning after the letter `after`."""
    rows = connection.execute(
        "SELECT l.id, l.kind, q.name, l.reason, l.moment, l.deliveries, m.text, b.data FROM letter AS l"
        " JOIN queue AS q ON q.id = l.queue JOIN message AS m ON m.id = l.message"
        " LEFT JOIN body AS b ON b.id = l.message WHERE l.id > ? AND (? IS NULL OR l.kind = ?) ORDER BY l.id LIMIT ?",
        (_number(after or "0"), kind, kind, limit),
    )
    return [
        Letter(
            id=str(id_),
            kind=found,
            queue=queue,
            reason=reason,
            moment=moment,
            deliveries=deliveries,
            message=decode_text(text, body),
        )
        for id_, found, queue, reason, moment, deliveries, text, body in rows
    ]


def replay(transaction: Transaction, ids: Collection[str]) -> int:
    """Put letters back where they were in their queues, with a delivery count of 0; return how many there were."""
    numbers = _numbers(ids)
    connection = transaction.connection
    queues = select(connection, "SELECT DISTINCT queue FROM letter WHERE id IN (??)", numbers)
    affect(
        connection,
        "INSERT INTO ready (queue, rank, id, deliveries, size)"
        " SELECT queue, rank, message, 0, size FROM letter WHERE id IN (??)",
        numbers,
    )
    transaction.bells.update(queue for (queue,) in queues)
    return affect(connection, "DELETE FROM letter WHERE id IN (??)", numbers)


def discard(transaction: Transaction, ids: Collection[str]) -> int:
    """Delete letters and their messages; return how many there were."""
    numbers = _numbers(ids)
    connection = transaction.connection
    for sql in (
        "DELETE FROM body WHERE id IN (SELECT message FROM letter WHERE id IN (??))",
        "DELETE FROM message WHERE id IN (SELECT message FROM letter WHERE id IN (??))",
    ):
        affect(connection, sql, numbers)
    return affect(connection, "DELETE FROM letter WHERE id IN (??)", numbers)


def _numbers(ids: Collection[str]) -> list[int]:
    """Return the ids as numbers, each once; what is no number of a letter is no letter."""
    return [number for number in dict.fromkeys(map(_number, ids)) if number]


def _number(id_: str) -> int:
    return int(id_) if id_.isascii() and id_.isdecimal() and len(id_) < 19 else 0
