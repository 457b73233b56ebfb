"""Statements for many rows come in few sizes and do to each row what one statement per row would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from celeriac_sqlite._statements import MOST_IDS, affect, insert, padded, select, size_for


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    yield connection
    connection.close()


def test_there_are_few_sizes_and_none_wastes_more_than_a_quarter() -> None:
    sizes = {size_for(count) for count in range(1, MOST_IDS + 1)}

    assert len(sizes) <= 8 + 4 * 7
    assert all(count <= size_for(count) <= count * 1.25 for count in range(1, MOST_IDS + 1))


@pytest.mark.parametrize("count", [1, 2, 7, 9, 100, MOST_IDS, MOST_IDS + 1, 3 * MOST_IDS + 5])
def test_padding_adds_no_id_and_loses_none(count: int) -> None:
    parts = list(padded(range(count)))

    assert {id_ for part in parts for id_ in part} == set(range(count))
    assert all(len(part) == size_for(len(part)) <= MOST_IDS for part in parts)


@pytest.mark.parametrize("count", [0, 1, 9, 100, MOST_IDS, 2 * MOST_IDS + 9])
def test_every_row_is_inserted_read_and_deleted_once(connection: sqlite3.Connection, count: int) -> None:
    values = [value for number in range(count) for value in (number, str(number))]

    inserted = insert(connection, "INSERT OR IGNORE INTO t (id, text) VALUES ??", 2, values)
    rows = select(connection, "SELECT id FROM t WHERE text <> ? AND id IN (??)", range(count), "0")
    deleted = affect(connection, "DELETE FROM t WHERE text <> ? AND id IN (??)", range(count), "0")

    assert inserted == count
    assert sorted(rows) == [(number,) for number in range(1, count)]
    assert deleted == max(count - 1, 0)
