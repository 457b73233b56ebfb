"""The queries of the hot path seek: none reads more of a table than it needs, however many messages there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac_sqlite import _letters, _records, _settlement, _taking
from celeriac_sqlite._schema import migrate

IDS = "?, ?, ?"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "plans.db", isolation_level=None)
    migrate(connection, tmp_path / "plans.db")
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    sql = sql.replace("??", IDS)
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?"))]


def scans(steps: list[str]) -> list[str]:
    """Return the steps that read a whole table, other than the few leases and a subquery's own rows."""
    return [step for step in steps if step.startswith("SCAN") and "subquery" not in step and step != "SCAN lease"]


@pytest.mark.parametrize(
    "sql",
    [
        _taking._FIRST,
        _taking._SIZES,
        _taking._TAKE,
        _taking._LEAVE,
        "SELECT min(due) FROM delayed",
        "INSERT INTO ready (queue, rank, id, deliveries, size)"
        " SELECT queue, rank, id, deliveries, size FROM delayed WHERE (due, id) <= (?, ?)",
        "DELETE FROM delayed WHERE (due, id) <= (?, ?)",
        _settlement._DELETE,
        _settlement._HELD,
        _settlement._READY,
        _settlement._LETTER,
        "DELETE FROM message WHERE id IN (??)",
        "SELECT max(id) FROM message",
        "SELECT ?, ?, id, 0, ? FROM message WHERE id >= ?",
        _records._DELETE_FOR_READY,
        "SELECT seq FROM result WHERE expires <= ? ORDER BY expires LIMIT ?",
        "DELETE FROM listener WHERE topic = ? AND port = ?",
    ],
)
def test_no_query_of_the_hot_path_scans(connection: sqlite3.Connection, sql: str) -> None:
    steps = plan(connection, sql)

    # min and max of an indexed column are reported as a search; anything else that scans reads it all.
    assert scans(steps) == []


def test_a_take_reads_the_first_messages_of_a_queue_in_order_without_sorting(connection: sqlite3.Connection) -> None:
    steps = plan(connection, _taking._FIRST)

    assert any("SEARCH r USING PRIMARY KEY (queue=?)" in step for step in steps)
    assert not any("TEMP B-TREE" in step for step in steps)


def test_the_prefix_of_a_queue_is_found_by_its_end(connection: sqlite3.Connection) -> None:
    steps = plan(connection, _taking._LEAVE)

    assert any("queue=? AND" in step and "rank" in step for step in steps), steps


def test_letters_are_listed_from_where_the_last_page_ended(connection: sqlite3.Connection) -> None:
    assert _letters.letters(connection, None, 10, "5") == []
    steps = plan(connection, "SELECT id FROM letter AS l WHERE l.id > ? ORDER BY l.id LIMIT ?")

    assert any("SEARCH l USING INTEGER PRIMARY KEY (rowid>?)" in step for step in steps)
