"""The contract harness: each store is a new database in a directory that is removed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from celeriac.testing.harness import StoreHarness
from celeriac_sqlite.coordinator import SqliteCoordinator
from celeriac_sqlite.results import SqliteResultStore
from celeriac_sqlite.transport import SqliteTransport

__all__ = ["coordinator", "results", "transport"]


@contextmanager
def _url() -> Iterator[str]:
    with TemporaryDirectory(prefix="celeriac-sqlite-") as folder:
        yield f"sqlite:///{folder}/contract.db"


@contextmanager
def transport() -> Iterator[StoreHarness[SqliteTransport]]:
    """Give a fresh broker."""
    with _url() as url:
        yield StoreHarness(SqliteTransport, url, results=SqliteResultStore)


@contextmanager
def results() -> Iterator[StoreHarness[SqliteResultStore]]:
    """Give a fresh result store."""
    with _url() as url:
        yield StoreHarness(SqliteResultStore, url)


@contextmanager
def coordinator() -> Iterator[StoreHarness[SqliteCoordinator]]:
    """Give a fresh coordinator."""
    with _url() as url:
        yield StoreHarness(SqliteCoordinator, url)
