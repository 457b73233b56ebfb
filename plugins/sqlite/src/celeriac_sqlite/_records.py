"""Results as rows, and the rules of what replaces what.

A record that is SUCCESS is never replaced, and one that is ready never by one that is not; one that has expired is
as good as absent. The usual record is the first of its id, so all are inserted in one statement that skips those
that exist; only if some did are the replaceable ones deleted and the insert repeated.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from celeriac.model.record import SUCCESS, ResultRecord
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._doorbell import RESULTS
from celeriac_sqlite._statements import affect, insert, select

__all__ = ["read", "write"]

_TYPE = "application/json"
_ENCODING = "utf-8"
_INSERT = "INSERT OR IGNORE INTO result (id, state, payload, content_type, content_encoding, kept, expires) VALUES ??"
_DELETE_FOR_READY = "DELETE FROM result WHERE (state <> 'SUCCESS' OR expires <= ?) AND id IN (??)"
_DELETE_FOR_UNREADY = (
    "DELETE FROM result WHERE (state NOT IN ('SUCCESS', 'FAILURE', 'REVOKED') OR expires <= ?) AND id IN (??)"
)


def write(transaction: Transaction, records: Sequence[ResultRecord], now: float) -> None:
    """Store records, the later of two for one id winning, by the rules above."""
    if len({record.id for record in records}) < len(records):
        records = _last_of_each(records)
    values: list[Any] = []
    for record in records:
        kept = record.expires_seconds
        values += (
            record.id,
            record.state,
            record.payload,
            None if record.content_type == _TYPE else record.content_type,
            None if record.content_encoding == _ENCODING else record.content_encoding,
            kept,
            None if kept is None else now + kept,
        )
    connection = transaction.connection
    if insert(connection, _INSERT, 7, values) < len(records):
        affect(connection, _DELETE_FOR_READY, [record.id for record in records if record.ready], now)
        affect(connection, _DELETE_FOR_UNREADY, [record.id for record in records if not record.ready], now)
        insert(connection, _INSERT, 7, values)
    if any(record.ready for record in records):
        transaction.bells.add(RESULTS)


def read(connection: sqlite3.Connection, ids: Collection[str], now: float) -> dict[str, ResultRecord]:
    """Return the records of those ids that have one which has not expired."""
    rows = select(
        connection,
        "SELECT id, state, payload, content_type, content_encoding, kept FROM result"
        " WHERE (expires IS NULL OR expires > ?) AND id IN (??)",
        list(ids),
        now,
    )
    return {
        row[0]: ResultRecord(
            id=row[0],
            state=row[1],
            payload=row[2],
            content_type=_TYPE if row[3] is None else row[3],
            content_encoding=_ENCODING if row[4] is None else row[4],
            expires_seconds=row[5],
        )
        for row in rows
    }


def _last_of_each(records: Sequence[ResultRecord]) -> list[ResultRecord]:
    found: dict[str, ResultRecord] = {}
    for record in records:
        before = found.get(record.id)
        if before is None or (before.state != SUCCESS and (record.ready or not before.ready)):
            found[record.id] = record
    return list(found.values())
