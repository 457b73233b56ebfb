"""The connection to Acme: its URL, TLS and pool. No other module imports the driver.

What stands here now is a table in this process, so that the copied bundle passes its contract suite from the first
minute on. Put the driver in its place.
"""

from __future__ import annotations

import threading
from typing import Final

from celeriac.kernel.clock import Clock
from celeriac.model.record import ResultRecord

__all__ = ["AcmeClient", "AcmeError", "forget"]


class AcmeError(Exception):
    """The driver's error for a connection that is gone."""


class _Table:
    """One database: records by key, and when each expires. Locked by who uses it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: dict[str, tuple[ResultRecord, float | None]] = {}


_TABLES: Final[dict[str, _Table]] = {}


def forget(url: str) -> None:
    """Drop the database at `url`."""
    _TABLES.pop(url, None)


class AcmeClient:
    """A connection to the database at `url`."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._table: _Table | None = _TABLES.setdefault(url, _Table())

    def read(self, key: str) -> ResultRecord | None:
        """Return the record of a key that has not expired."""
        table = self._live()
        with table.lock:
            return self._fresh(table, key)

    def write(self, key: str, record: ResultRecord) -> None:
        """Store a record, unless the contract of result stores lets the old one stand."""
        table = self._live()
        with table.lock:
            old = self._fresh(table, key)
            if old is not None and (old.state == "SUCCESS" or (old.ready and not record.ready)):
                return
            lifetime = record.expires_seconds
            expiry = None if lifetime is None else self._clock.monotonic() + lifetime
            table.rows[key] = (record, expiry)

    def drop(self, key: str) -> bool:
        """Delete a key; return whether there was a record."""
        table = self._live()
        with table.lock:
            found = self._fresh(table, key) is not None
            table.rows.pop(key, None)
            return found

    def close(self) -> None:
        """Disconnect."""
        self._table = None

    def _fresh(self, table: _Table, key: str) -> ResultRecord | None:
        record, expiry = table.rows.get(key, (None, None))
        return None if expiry is not None and expiry <= self._clock.monotonic() else record

    def _live(self) -> _Table:
        if self._table is None:
            raise AcmeError("the connection is closed")
        return self._table
