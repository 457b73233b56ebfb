"""The tables, their versions, and how an older database becomes a current one.

A message is one row of `message` plus one row in exactly one of `ready`, `delayed`, `held` or `letter`. Moving it
between those touches rows of a few bytes, never its text; docs/explanation/sqlite-store.md has the measurements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from celeriac.errors import IncompatibleStore

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "stored_version"]

APPLICATION_ID: Final = 0x43454C52
"""`CELR`: tells our files from another program's databases."""

_VERSION_1: Final = """
CREATE TABLE queue (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE exchange (name TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE binding (
    exchange TEXT NOT NULL, key TEXT NOT NULL, queue INTEGER NOT NULL, PRIMARY KEY (exchange, key, queue)
) WITHOUT ROWID;

CREATE TABLE message (id INTEGER PRIMARY KEY, moment REAL NOT NULL, text TEXT NOT NULL);
CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE ready (
    queue INTEGER NOT NULL, rank INTEGER NOT NULL, id INTEGER NOT NULL,
    deliveries INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (queue, rank, id)
) WITHOUT ROWID;
CREATE TABLE delayed (
    due REAL NOT NULL, id INTEGER NOT NULL, queue INTEGER NOT NULL, rank INTEGER NOT NULL,
    deliveries INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (due, id)
) WITHOUT ROWID;
CREATE TABLE held (
    id INTEGER PRIMARY KEY, lease INTEGER NOT NULL, token INTEGER NOT NULL, queue INTEGER NOT NULL,
    rank INTEGER NOT NULL, deliveries INTEGER NOT NULL, size INTEGER NOT NULL
);
CREATE TABLE letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER NOT NULL UNIQUE, kind TEXT NOT NULL,
    queue INTEGER NOT NULL, rank INTEGER NOT NULL, deliveries INTEGER NOT NULL, size INTEGER NOT NULL,
    reason TEXT NOT NULL, moment REAL NOT NULL
);
CREATE TABLE lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT, holder TEXT NOT NULL UNIQUE, expires REAL NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE listener (
    topic INTEGER NOT NULL, port INTEGER NOT NULL, expires REAL NOT NULL, PRIMARY KEY (topic, port)
) WITHOUT ROWID;

CREATE TABLE result (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, payload BLOB NOT NULL,
    content_type TEXT, content_encoding TEXT, kept REAL, expires REAL
);
CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL;

CREATE TABLE lock (
    token INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    expires REAL NOT NULL, seconds REAL NOT NULL
);
CREATE INDEX lock_expires ON lock (expires);
CREATE TABLE bucket (
    name TEXT PRIMARY KEY, level REAL NOT NULL, moment REAL NOT NULL, full REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX bucket_full ON bucket (full);
CREATE TABLE seat (
    key TEXT NOT NULL, owner TEXT NOT NULL, expires REAL NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (key, owner)
) WITHOUT ROWID;
CREATE INDEX seat_expires ON seat (expires);
CREATE TABLE member (
    name TEXT NOT NULL, member TEXT NOT NULL, expires REAL NOT NULL, PRIMARY KEY (name, member)
) WITHOUT ROWID;
CREATE INDEX member_expires ON member (expires);
"""

_VERSION_2: Final = """
CREATE TABLE joining (
    id TEXT PRIMARY KEY, size INTEGER NOT NULL, successes INTEGER NOT NULL, failures INTEGER NOT NULL,
    succeeded INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL DEFAULT 0,
    text TEXT NOT NULL, body BLOB, expires REAL
) WITHOUT ROWID;
CREATE INDEX joining_expires ON joining (expires) WHERE expires IS NOT NULL;
CREATE TABLE part (
    joining TEXT NOT NULL, member TEXT NOT NULL, place INTEGER NOT NULL, succeeded INTEGER NOT NULL,
    payload BLOB NOT NULL, PRIMARY KEY (joining, member)
);
"""

MIGRATIONS: Final[tuple[str, ...]] = (_VERSION_1, _VERSION_2)
"""Entry i turns version i into version i + 1; version 0 is an empty file. Entries are only ever added."""


def stored_version(connection: sqlite3.Connection, path: Path, known: int = len(MIGRATIONS)) -> int:
    """Return the version of the schema in the file, 0 if it is empty.

    Raises: IncompatibleStore: it is another program's, or of a newer version than `known`.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or version or tables:
            raise IncompatibleStore(f"{path} is a database of another program. Name another file in the URL.")
        return 0
    if version > known:
        raise IncompatibleStore(
            f"{path} has version {version} of the schema, and this version of celeriac-sqlite knows {known}."
            " Upgrade celeriac here, or name another file in the URL."
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the schema up to date; call it inside a write transaction, which makes it all or nothing."""
    version = stored_version(connection, path, len(migrations))
    for script in migrations[version:]:
        for statement in _statements(script):
            connection.execute(statement)
    # A PRAGMA takes no parameters; both values are our own integers.
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _statements(script: str) -> list[str]:
    """Split a script; `executescript` would commit the transaction that this must be part of."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found
