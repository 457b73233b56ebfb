"""Joins as rows: what each waits for, how many of its members have ended, and what they gave.

A part is inserted once for each member; only what was really inserted is counted, so that a redelivered member counts
once. A closed join keeps its row until it expires, so that a late part opens nothing anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._envelope import decode_text, seal
from celeriac_sqlite._statements import affect, insert, select

__all__ = ["close", "give", "grow", "open_all", "read", "sweep"]

_OPEN = "INSERT OR IGNORE INTO joining (id, size, successes, failures, text, body, expires) VALUES ??"
_GIVE = (
    "INSERT OR IGNORE INTO part (joining, member, place, succeeded, payload)"
    " SELECT id, ?, ?, ?, ? FROM joining WHERE id = ? AND state <> 2"
)
_COUNT = "UPDATE joining SET succeeded = succeeded + ?, ended = ended + ? WHERE id = ?"
_GROW = (
    "UPDATE joining SET size = size + 1, successes = successes + ?, failures = failures + ? WHERE id = ? AND state <> 2"
)
_ADDED = 2
"""`succeeded` of a row that is no part, but tells that the join has grown by a member."""
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
    first: dict[tuple[str, bool], dict[str, Part]] = {}
    known: set[tuple[str, str]] = set()
    for part in parts:
        if (part.join, part.member) not in known:
            known.add((part.join, part.member))
            first.setdefault((part.join, part.succeeded), {})[part.member] = part
    for (id_, succeeded), some in first.items():
        rows = [(part.member, part.place, succeeded, part.payload, id_) for part in some.values()]
        given = connection.executemany(_GIVE, rows).rowcount
        if given:
            connection.execute(_COUNT, (given if succeeded else 0, given, id_))
    complete = select(connection, _COMPLETE, ids, 0 if once else 1)
    if once and complete:
        affect(connection, "UPDATE joining SET state = 1 WHERE id IN (??)", [id_ for id_, _, _ in complete])
    return [decode_text(text, body) for id_, text, body in complete if id_ not in late]


def grow(transaction: Transaction, growths: Sequence[Growth]) -> None:
    """Have joins wait for more members, each once."""
    connection = transaction.connection
    for growth in growths:
        # The sign keeps it apart from the part that this very member gives.
        row = (f"+{growth.member}", 0, _ADDED, b"", growth.join)
        if connection.execute(_GIVE, row).rowcount:
            connection.execute(_GROW, (growth.successes, growth.failures, growth.join))


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
        "SELECT member, place, succeeded, payload FROM part WHERE joining = ? AND succeeded <> ?"
        " ORDER BY place, member",
        (id_, _ADDED),
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
