"""What happens when a database is opened, and what is refused."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from celeriac.errors import (
    ConfigurationError,
    IncompatibleStore,
    InvalidSetting,
    ReadOnlyStore,
    StoreError,
    TransportLost,
    UnknownSetting,
)
from celeriac.model.address import Address
from celeriac.spi.service import Context
from celeriac_sqlite._location import database_path
from celeriac_sqlite._schema import APPLICATION_ID, MIGRATIONS, migrate, stored_version
from celeriac_sqlite.transport import SqliteTransport

SECONDS = 5.0


@pytest.fixture
def lock() -> Iterator[Callable[[Path], None]]:
    """Make a directory one that nobody can write, not even root, whom permissions do not bind."""
    with ExitStack() as stack:

        def make_read_only(folder: Path) -> None:
            if os.geteuid() != 0:
                folder.chmod(0o555)
                stack.callback(folder.chmod, 0o755)
            elif subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False).returncode:
                pytest.skip("root here, and this file system knows no immutable files")
            else:
                stack.callback(subprocess.run, ["chattr", "-i", str(folder)], check=True)

        yield make_read_only


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///queue.db", Path.cwd() / "queue.db"),
        ("sqlite:///.celeriac/celeriac.db", Path.cwd() / ".celeriac/celeriac.db"),
        ("sqlite:////var/lib/queue.db", Path("/var/lib/queue.db").resolve()),
        ("sqlite:////var/lib/my%20queue.db", Path("/var/lib/my queue.db").resolve()),
    ],
)
def test_the_url_names_a_file(url: str, path: Path) -> None:
    assert database_path(Address.parse(url)) == path


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file::memory:"])
def test_a_database_in_memory_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        SqliteTransport(Address.parse(url), Context())


def test_two_slashes_are_told_apart_from_three() -> None:
    with pytest.raises(ConfigurationError, match="three slashes"):
        SqliteTransport(Address.parse("sqlite://queue.db/x"), Context())


def test_an_unknown_option_is_refused_with_the_nearest(stores) -> None:
    with pytest.raises(UnknownSetting, match="'synchronous'"):
        stores.unopened(SqliteTransport, "?synchron=full")


@pytest.mark.parametrize("query", ["?synchronous=sometimes", "?lease_seconds=0", "?lease_seconds=soon"])
def test_a_bad_option_is_refused(stores, query: str) -> None:
    with pytest.raises(InvalidSetting):
        stores.unopened(SqliteTransport, query)


def test_a_bad_file_mode_is_refused(stores) -> None:
    with pytest.raises(InvalidSetting, match="file_mode"):
        stores.transport(file_mode="rw")


def test_missing_directories_are_created(stores) -> None:
    stores.path = stores.path.parent / "a" / "b" / "queue.db"
    stores.url = f"sqlite:///{stores.path}"

    stores.transport()

    assert stores.path.is_file()


def test_the_file_mode_holds_for_all_three_files(stores, message) -> None:
    stores.transport(file_mode="600").publish([message()], timeout=SECONDS)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in stores.path.parent.iterdir()}
    assert modes == {"queue.db": 0o600, "queue.db-wal": 0o600, "queue.db-shm": 0o600}


def test_a_directory_that_cannot_be_written_is_named(stores, lock: Callable[[Path], None]) -> None:
    lock(stores.path.parent)

    with pytest.raises(ReadOnlyStore, match="write access"):
        stores.transport()


def test_a_database_in_a_read_only_directory_is_refused_and_loses_nothing(
    tmp_path: Path, message, lock: Callable[[Path], None]
) -> None:
    folder = tmp_path / "locked"
    address = Address.parse(f"sqlite:///{folder / 'queue.db'}")
    before, after = SqliteTransport(address, Context()), SqliteTransport(address, Context())
    before.open(timeout=SECONDS)
    before.publish([message("kept")], timeout=SECONDS)
    before.close()

    lock(folder)
    with pytest.raises(ReadOnlyStore, match=r"locked cannot be written.*write access"):
        after.open(timeout=SECONDS)

    with closing(sqlite3.connect(f"{(folder / 'queue.db').as_uri()}?immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM ready").fetchone() == (1,)


def test_a_directory_instead_of_a_file_is_refused(stores) -> None:
    stores.path.mkdir()

    with pytest.raises(StoreError, match="is a directory"):
        stores.transport()


def test_a_file_that_is_no_database_is_refused_and_left_alone(stores) -> None:
    stores.path.write_bytes(b"no database" * 1000)

    with pytest.raises(IncompatibleStore, match="no SQLite database"):
        stores.transport()

    assert stores.path.read_bytes() == b"no database" * 1000


def test_the_database_of_another_program_is_refused_and_left_alone(stores) -> None:
    with sqlite3.connect(stores.path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = stores.path.read_bytes()

    with pytest.raises(IncompatibleStore, match="another program"):
        stores.transport()

    assert stores.path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused_with_both_versions(stores) -> None:
    stores.transport().close()
    with sqlite3.connect(stores.path) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()

    with pytest.raises(IncompatibleStore, match=f"version {len(MIGRATIONS) + 1}.*knows {len(MIGRATIONS)}.*Upgrade"):
        stores.transport()


def test_an_older_database_is_migrated_step_by_step_and_keeps_its_rows(tmp_path: Path) -> None:
    """The steps are of this test, so that it stays true for every version to come."""
    path = tmp_path / "old.db"
    first = "CREATE TABLE task (id INTEGER PRIMARY KEY, name TEXT);"
    second = "ALTER TABLE task ADD COLUMN state TEXT;\nUPDATE task SET state = 'old; but kept';"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, [first])
    connection.execute("INSERT INTO task (name) VALUES ('a')")
    assert stored_version(connection, path, 2) == 1

    connection.execute("BEGIN IMMEDIATE")
    migrate(connection, path, [first, second])
    connection.execute("COMMIT")

    assert stored_version(connection, path, 2) == 2
    assert connection.execute("SELECT name, state FROM task").fetchall() == [("a", "old; but kept")]
    connection.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, ["CREATE TABLE task (id INTEGER PRIMARY KEY);"])

    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, ["", "ALTER TABLE task ADD COLUMN state TEXT;\nINSERT INTO nowhere VALUES (1);"])
    connection.execute("ROLLBACK")

    assert stored_version(connection, path, 2) == 1
    assert [row[1] for row in connection.execute("PRAGMA table_info(task)")] == ["id"]
    connection.close()


def test_a_version_0_file_that_only_carries_our_mark_is_filled(stores, message) -> None:
    with sqlite3.connect(stores.path) as started:
        started.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    started.close()

    transport = stores.transport()

    transport.publish([message("x")], timeout=SECONDS)
    assert len(transport.receive(["q"], limit=1, timeout=0)) == 1


def test_a_connection_notices_that_its_file_was_replaced(stores, message) -> None:
    transport = stores.transport()
    for path in list(stores.path.parent.iterdir()):
        path.rename(path.with_name(f"moved-{path.name}"))
    transport._database._looked = 0.0  # the check is made once a second

    with pytest.raises(TransportLost, match="is gone"):
        transport.publish([message()], timeout=SECONDS)


def test_a_closed_connection_says_so_and_closing_again_does_nothing(stores, message) -> None:
    transport = stores.transport()
    transport.close()
    transport.close()

    with pytest.raises(TransportLost, match="is closed"):
        transport.publish([message()], timeout=SECONDS)
