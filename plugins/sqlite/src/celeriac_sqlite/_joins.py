"""Joins as rows: what each waits for, how many of its members have ended, and what they gave.

A part is inserted once for each member; only what was really inserted is counted, so that a redelivered member counts
once. A closed join keeps its row until it expires, so that a late part opens nothing anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from celeriac.model.join import Join, Part
from celeriac.model.message import Message
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._envelope import decode_text, seal
from celeriac_sqlite._statements import affect, insert, select

__all__ = ["close", "give", "open_all", "read", "sweep"]

_OPEN = "INSERT OR IGNORE INTO joining (id, size, successes, failures, text, body, expires) VALUES ??"
_GIVE = (
    "INSERT OR IGNORE INTO part (joining, member, place, succeeded, payload)"
    " SELECT id, ?, ?, ?, ? FROM joining WHERE id = ? AND state <> 2"
)
_COUNT = (
    "UPDATE joining SET (succeeded, ended) ="
    " (SELECT sum(succeeded), count(*) FROM part WHERE part.joining = joining.id) WHERE state <> 2 AND id IN (??)"
)
_COMPLETE = (
    "SELECT id, text, body FROM joining WHERE state <= ? AND (succeeded >= successes OR ended - succeeded >= failures"
    " OR ended >= size) AND id IN (??)"
)
# `state` of a join: 0 it waits, 1 its message was published with a settlement, 2 it is closed.


def open_all(transaction: Transaction, joins: Sequence[Join], now: float) -> None:
    """Open joins that do not exist yet.

    Raises: EncodeError: the message of one cannot be written.
    """
    values: list[Any] = []
    for join in joins:
        envelope = seal(join.message)
        expires = None if join.expires_seconds is None else now + join.expires_seconds
        values += (join.id, join.size, join.successes, join.failures, envelope.text, envelope.body, expires)
    insert(transaction.connection, _OPEN, 7, values)


def give(transaction: Transaction, parts: Sequence[Part], *, once: bool) -> list[Message]:
    """Give parts to their joins; return the messages of those that are complete by them, or had one of them before.

    With `once`, the caller publishes them in this transaction: none is returned a second time.
    """
    connection = transaction.connection
    ids = list(dict.fromkeys(part.join for part in parts))
    late = set() if once else _late(connection, parts, ids)
    connection.executemany(
        _GIVE, [(part.member, part.place, part.succeeded, part.payload, part.join) for part in parts]
    )
    affect(connection, _COUNT, ids)
    complete = select(connection, _COMPLETE, ids, 0 if once else 1)
    if once and complete:
        affect(connection, "UPDATE joining SET state = 1 WHERE id IN (??)", [id_ for id_, _, _ in complete])
    return [decode_text(text, body) for id_, text, body in complete if id_ not in late]


def _late(connection: sqlite3.Connection, parts: Sequence[Part], ids: Sequence[str]) -> set[str]:
    """Return the joins that were complete before and to which none of these parts was given yet."""
    complete = {id_ for id_, _, _ in select(connection, _COMPLETE, ids, 1)}
    query = "SELECT 1 FROM part WHERE joining = ? AND member = ?"
    again = {
        part.join
        for part in parts
        if part.join in complete and connection.execute(query, (part.join, part.member)).fetchone()
    }
    return complete - again


def read(connection: sqlite3.Connection, id_: str) -> list[Part]:
    """Return the parts of a join, by their places."""
    rows = connection.execute(
        "SELECT member, place, succeeded, payload FROM part WHERE joining = ? ORDER BY place, member", (id_,)
    )
    return [
        Part(join=id_, member=member, place=place, succeeded=bool(succeeded), payload=payload)
        for member, place, succeeded, payload in rows
    ]


def close(transaction: Transaction, ids: Collection[str]) -> None:
    """Drop the parts of joins and take no more."""
    chosen = list(ids)
    affect(transaction.connection, "UPDATE joining SET state = 2, text = '', body = NULL WHERE id IN (??)", chosen)
    affect(transaction.connection, "DELETE FROM part WHERE joining IN (??)", chosen)


def sweep(transaction: Transaction, now: float, limit: int) -> None:
    """Drop up to `limit` joins that have expired."""
    rows = transaction.execute("SELECT id FROM joining WHERE expires <= ? LIMIT ?", (now, limit)).fetchall()
    ids = [id_ for (id_,) in rows]
    affect(transaction.connection, "DELETE FROM part WHERE joining IN (??)", ids)
    affect(transaction.connection, "DELETE FROM joining WHERE id IN (??)", ids)
