"""One connection to a database file: opening, transactions, waiting for the lock, and errors in our words."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from celeriac.errors import (
    DeadlineExceeded,
    IncompatibleStore,
    InvalidSetting,
    ReadOnlyStore,
    StoreError,
    StoreFull,
)
from celeriac.kernel.clock import Clock
from celeriac.model.address import Address
from celeriac_sqlite._doorbell import Ringer, ports_of
from celeriac_sqlite._gate import gate_of, register
from celeriac_sqlite._location import database_path, prepare
from celeriac_sqlite._schema import MIGRATIONS, migrate, stored_version

__all__ = ["Database", "Transaction"]

_SYNCHRONOUS: Final = ("off", "normal", "full", "extra")
_PAGE_BYTES: Final = 4096
_WAL_PAGES: Final = 4000
"""Pages in the write-ahead log at which a commit copies them to the database: 16 MB."""
_MOST_WAL_BYTES: Final = 4 * _WAL_PAGES * _PAGE_BYTES
_CHECKPOINT_MILLISECONDS: Final = 250
_FIRST_PAUSE_SECONDS: Final = 0.0001
_LONGEST_PAUSE_SECONDS: Final = 0.002
_LOOK_SECONDS: Final = 1.0
"""How often it is checked that the open file is still the one at the path."""
_LATER: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
"""What SQLite answers while another process is in the way."""
_DURABLE: Final = "durable"
_LIGHT: Final = "light"
_READING: Final = "reading"
_OLDEST_SQLITE: Final = (3, 32, 0)
"""The first whose statements take 32,766 parameters."""


T = TypeVar("T")


class Transaction:
    """A write transaction. After the commit `committed` is called, then who listens to a topic in `bells` is woken.

    What a transaction learns may be remembered only once it is committed, hence `committed`.
    """

    __slots__ = ("bells", "committed", "connection", "execute")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.bells: set[int] = set()
        self.committed: list[Callable[[], object]] = []


class Database:
    """A database file and three connections: for durable writes, for light ones, and for reading.

    The writing ones are used under the gate of the file, the reading one under a lock of its own.
    The kernel's time-outs are kept by the real clock; `clock` is for what is stored.
    """

    def __init__(self, address: Address, option: Mapping[str, Any], clock: Clock, *, lost: type[StoreError]) -> None:
        self.path = database_path(address)
        self.clock = clock
        self.gate = gate_of(self.path)
        self._lost = lost
        self._file_mode: str = option["file_mode"]
        self._max_pages: int = option["max_bytes"] // _PAGE_BYTES
        self._synchronous: str = option["synchronous"].lower()
        if self._synchronous not in _SYNCHRONOUS:
            raise InvalidSetting("synchronous", option["synchronous"], f"one of {', '.join(_SYNCHRONOUS)}")
        # A take need not be on disk: after a power cut its message waits again. The rest is as the user says.
        self._light = "normal" if self._synchronous in ("full", "extra") else self._synchronous
        self._process = 0
        self._file: tuple[int, int] = (0, 0)
        self._looked = 0.0
        self._connections: dict[str, sqlite3.Connection] = {}
        self.reading = threading.Lock()
        self._ringer = Ringer()

    # -- opening and closing ---------------------------------------------------------------------------

    def open(self, timeout: float) -> None:
        """Create or migrate the file as needed and connect."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise IncompatibleStore(f"SQLite {sqlite3.sqlite_version} is too old; 3.32 or newer is needed.")
        deadline = time.monotonic() + timeout
        prepare(self.path, self._file_mode)
        self._process = os.getpid()
        self._acquire("open", timeout)
        try:
            with self._translated("open", timeout):
                self._prepare_schema(self._connection(_DURABLE, self._synchronous, deadline), deadline)
        except BaseException:
            with self.reading:
                self.disconnect()
            raise
        finally:
            self.gate.lock.release()
        status = self.path.stat()
        self._file = (status.st_dev, status.st_ino)
        register(self)

    def close(self) -> None:
        """Disconnect; any number of times. A transaction that runs is waited for."""
        if self._process != os.getpid():
            return
        with self.gate.lock, self.reading:
            self.disconnect()
            self._process = 0
        self._ringer.close()

    @property
    def usable(self) -> bool:
        """Whether it is open, in this process."""
        return self._process == os.getpid()

    def disconnect(self) -> None:
        """Close the connections, which open again when needed. The caller holds the gate and `reading`."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _connection(self, role: str, level: str, deadline: float) -> sqlite3.Connection:
        """Return the connection of a role, opened at its first use and again after a fork."""
        self._check()
        found = self._connections.get(role)
        if found is None:
            found = self._connections[role] = self._connect(level, deadline)
        return found

    def _connect(self, level: str, deadline: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            _retry(partial(self._set_up, connection, level), deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection, level: str) -> None:
        stored_version(connection, self.path, len(MIGRATIONS))
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = wal")
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                raise StoreError(f"{self.path} is on a file system without shared memory. Use a local disk.")
        connection.execute(f"PRAGMA synchronous = {level}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_MOST_WAL_BYTES}")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA temp_store = memory")
        if self._max_pages:
            connection.execute(f"PRAGMA max_page_count = {self._max_pages}")

    def _prepare_schema(self, connection: sqlite3.Connection, deadline: float) -> None:
        if stored_version(connection, self.path) == len(MIGRATIONS):
            return
        _retry(partial(connection.execute, "BEGIN IMMEDIATE"), deadline)
        try:
            migrate(connection, self.path)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise

    # -- transactions ----------------------------------------------------------------------------------

    @contextmanager
    def write(self, what: str, timeout: float, *, durable: bool = True) -> Iterator[Transaction]:
        """Run a write transaction, committed at the end of the block and undone by an exception.

        Not `durable`: no commit of this block waits for the disk, and a power cut may undo it.

        Raises: DeadlineExceeded, StoreFull, ReadOnlyStore, or the `lost` error.
        """
        deadline = time.monotonic() + timeout
        self._acquire(what, timeout)
        try:
            with self._translated(what, timeout):
                role, level = (_DURABLE, self._synchronous) if durable else (_LIGHT, self._light)
                connection = self._connection(role, level, deadline)
                _retry(partial(connection.execute, "BEGIN IMMEDIATE"), deadline)
                transaction = Transaction(connection)
                try:
                    yield transaction
                    ports = ports_of(connection, transaction.bells, self.clock) if transaction.bells else ()
                    connection.execute("COMMIT")
                except BaseException:
                    _roll_back(connection)
                    raise
                for learn in transaction.committed:
                    learn()
        finally:
            self.gate.lock.release()
        self._ringer.ring(ports)

    def glance(self, what: str, timeout: float, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a cheap query finds; it runs outside any transaction, on a writing connection."""
        deadline = time.monotonic() + timeout
        self._acquire(what, timeout)
        try:
            with self._translated(what, timeout):
                return _retry(partial(query, self._connection(_LIGHT, self._light, deadline)), deadline)
        finally:
            self.gate.lock.release()

    @contextmanager
    def read(self, what: str, timeout: float) -> Iterator[sqlite3.Connection]:
        """Run a block of queries on one state of the database, without stopping writers."""
        if not self.reading.acquire(timeout=max(timeout, 0)):
            raise DeadlineExceeded(f"{self.path} at {what}", timeout)
        try:
            with self._translated(what, timeout):
                connection = self._connection(_READING, self._light, time.monotonic() + timeout)
                # Readers are held up only while a last connection closes or a first one recovers.
                connection.execute("PRAGMA busy_timeout = 1000")
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    _roll_back(connection)
        finally:
            self.reading.release()

    def tend(self) -> None:
        """Empty the write-ahead log if it has outgrown its bounds, which overlapping readers can make it do."""
        try:
            size = self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return
        if size <= _MOST_WAL_BYTES:
            return
        self.glance("checkpoint", 1.0, _empty_log)

    def _check(self) -> None:
        """Refuse a handle of before a fork or a close, and one whose file is no longer the one at the path."""
        if self._process != os.getpid():
            why = "is closed" if not self._process else "was opened before a fork; open a new one in the child"
            raise self._lost(f"This connection to {self.path} {why}.")
        # Not each time: a call to the system gives up the GIL.
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise self._lost(f"{self.path} is gone: {error.strerror}.") from error
        if self._file not in ((status.st_dev, status.st_ino), (0, 0)):
            raise self._lost(f"{self.path} was replaced by another file while it was open.")

    # -- waiting, and errors ---------------------------------------------------------------------------

    def _acquire(self, what: str, timeout: float) -> None:
        if not self.gate.lock.acquire(timeout=max(timeout, 0)):
            raise DeadlineExceeded(f"{self.path} at {what}", timeout)

    @contextmanager
    def _translated(self, what: str, timeout: float) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._ours(error, what, timeout) from error

    def _ours(self, error: sqlite3.Error, what: str, timeout: float) -> StoreError:
        code = _code(error)
        if code in _LATER:
            return DeadlineExceeded(f"{self.path} at {what} (locked by another process)", timeout)
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._no_room()):
            limit = " or raise max_bytes" if self._max_pages else ""
            return StoreFull(f"No room for {self.path} at {what}; nothing of it was stored. Free some space{limit}.")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return ReadOnlyStore(f"{self.path} cannot be written: {error}. Give this user write access.")
        if code == sqlite3.SQLITE_NOTADB:
            return IncompatibleStore(f"{self.path} is no SQLite database. Name another file in the URL.")
        if code == sqlite3.SQLITE_CORRUPT:
            return StoreError(
                f"{self.path} is damaged ({error}). Stop every process that uses it and run: "
                f"sqlite3 {self.path} .recover | sqlite3 recovered.db"
            )
        return self._lost(f"{self.path} at {what}: {error}")

    def _no_room(self) -> bool:
        try:
            status = os.statvfs(self.path.parent)
        except (OSError, AttributeError):
            return False
        return status.f_bavail * status.f_frsize < 1 << 20


def _retry(call: Callable[[], T], deadline: float) -> T:
    """Call again and again while another process is in the way.

    SQLite's own busy handler sleeps up to 100 ms at a time; a transaction of ours lasts a few milliseconds.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if _code(error) not in _LATER or time.monotonic() >= deadline:
                raise
        time.sleep(_pause(pause))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _empty_log(connection: sqlite3.Connection) -> None:
    # While it waits for older readers, SQLite lets newer ones read the database instead of the log.
    connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_MILLISECONDS}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undo what runs; a full disk makes SQLite do it by itself."""
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.interrupt()


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; the extended ones carry it in their low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _pause(longest: float) -> float:
    return longest * (0.5 + random.random() / 2)  # noqa: S311  spreads retries, guards nothing
