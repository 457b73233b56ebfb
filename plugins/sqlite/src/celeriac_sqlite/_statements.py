"""SQL texts for many rows at once, in few shapes.

Python's sqlite3 gives up the GIL at every step of a statement and, beside a busy thread, may wait 5 ms to get it
back. So nothing here runs a statement per row, and there are few sizes: a list of ids, or of rows, is filled up to
one of four sizes per power of two by repeating its last element. Inserts skip what repeats (OR IGNORE) or replace it.
Few texts are ever prepared, and SQLite's statement cache has them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

__all__ = ["MOST_IDS", "affect", "insert", "padded", "select", "size_for"]

MOST_IDS: Final = 1024
"""Ids, or rows, of one statement; at 8 columns still far below SQLite's limit of 32,766 parameters."""


@lru_cache(maxsize=256)
def _with_ids(sql: str, count: int) -> str:
    return sql.replace("??", ",".join("?" * count))


@lru_cache(maxsize=256)
def _with_rows(sql: str, columns: int, rows: int) -> str:
    return sql.replace("??", ",".join(["(" + ",".join("?" * columns) + ")"] * rows))


def size_for(count: int) -> int:
    """Return the least of the sizes (1 to 8, 10, 12, 14, 16, 20, 24 …) that is not below `count`."""
    step = 1 << max((count - 1).bit_length() - 3, 0)
    return -(-count // step) * step


def padded(ids: Sequence[Any]) -> Iterator[list[Any]]:
    """Cut `ids` into lists of such sizes, the last one filled up by repetition."""
    for start in range(0, len(ids), MOST_IDS):
        part = list(ids[start : start + MOST_IDS])
        part.extend([part[-1]] * (size_for(len(part)) - len(part)))
        yield part


def affect(connection: sqlite3.Connection, sql: str, ids: Sequence[Any], *before: Any) -> int:
    """Run `sql`, whose `??` stands for the ids and follows the parameters `before`; return how many rows it changed."""
    changed = 0
    for part in padded(ids):
        changed += connection.execute(_with_ids(sql, len(part)), [*before, *part]).rowcount
    return changed


def select(connection: sqlite3.Connection, sql: str, ids: Sequence[Any], *before: Any) -> list[tuple[Any, ...]]:
    """Run the query `sql`, whose `??` stands for the ids and follows the parameters `before`; return its rows."""
    rows: list[tuple[Any, ...]] = []
    for part in padded(ids):
        rows += connection.execute(_with_ids(sql, len(part)), [*before, *part]).fetchall()
    return rows


def insert(connection: sqlite3.Connection, sql: str, columns: int, values: Sequence[Any]) -> int:
    """Run an insert of any number of rows; return how many it inserted.

    `sql` must do nothing, or the same again, with a row that repeats. Its `??` stands for the rows; `values` are all
    their columns, one row after the other.
    """
    changed = 0
    for start in range(0, len(values), MOST_IDS * columns):
        part = list(values[start : start + MOST_IDS * columns])
        rows = len(part) // columns
        size = size_for(rows)
        part.extend(part[-columns:] * (size - rows))
        changed += connection.execute(_with_rows(sql, columns, size), part).rowcount
    return changed
