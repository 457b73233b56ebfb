"""Databases on a PostgreSQL server for kombu's transport over SQLAlchemy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from celeriac.testing.harness import StoreHarness
from celeriac_kombu.transport import KombuTransport

_numbers = itertools.count(1)


@contextmanager
def database(server: str) -> Iterator[str]:
    """Make a database of its own on the server at a `postgresql://` URL; give its URL, without a driver."""
    name = f"celeriac_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def broker_url(database_url: str) -> str:
    """Return the URL by which kombu and Celery reach a database."""
    return "sqla+" + database_url.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def sqlalchemy(database_url: str) -> Iterator[StoreHarness[KombuTransport]]:
    """Give a database, emptied of kombu's messages."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT to_regclass('kombu_message')").fetchone()
        if row is not None and row[0] is not None:
            connection.execute("TRUNCATE kombu_message, kombu_queue")
    url = f"kombu+{broker_url(database_url)}"
    yield StoreHarness(KombuTransport, url, virtual=False, options={"polling_interval": 0.02})
