"""A database file for each test, connections that are closed, and processes that are ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.spi.service import Context, Service
from celeriac.testing.clock import VirtualClock
from celeriac_sqlite.coordinator import SqliteCoordinator
from celeriac_sqlite.results import SqliteResultStore
from celeriac_sqlite.transport import SqliteTransport

S = TypeVar("S", bound=Service)
SECONDS = 5.0


class Stores:
    """Opens connections to one database file."""

    def __init__(self, path: Path, stack: ExitStack, clock: Clock) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.clock = clock
        self._stack = stack

    def unopened(self, kind: type[S], query: str = "", *, holder: str = "a", **options: Any) -> S:
        address = Address.parse(f"{self.url}{query}")
        service = kind(address, Context(clock=self.clock, holder=holder, options=options))
        self._stack.callback(service.close)
        return service

    def _open(self, kind: type[S], query: str, holder: str, options: dict[str, Any]) -> S:
        service = self.unopened(kind, query, holder=holder, **options)
        service.open(timeout=SECONDS)
        return service

    def transport(self, query: str = "", *, holder: str = "a", **options: Any) -> SqliteTransport:
        return self._open(SqliteTransport, query, holder, options)

    def results(self, **options: Any) -> SqliteResultStore:
        return self._open(SqliteResultStore, "", "a", options)

    def coordinator(self) -> SqliteCoordinator:
        return self._open(SqliteCoordinator, "", "a", {})


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def stores(tmp_path: Path, clock: VirtualClock) -> Iterator[Stores]:
    """Connections that obey the virtual clock."""
    with ExitStack() as stack:
        yield Stores(tmp_path / "queue.db", stack, clock)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Stores]:
    """Connections that obey the machine's clock, as those of other processes do."""
    with ExitStack() as stack:
        yield Stores(tmp_path / "queue.db", stack, SYSTEM_CLOCK)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process in one of the roles of children.py, on the same database file."""
    script = Path(__file__).with_name("children.py")
    children: list[subprocess.Popen[str]] = []

    def run(role: str, *arguments: str, query: str = "") -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(script), f"sqlite:///{tmp_path / 'queue.db'}{query}", role, *arguments],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        children.append(child)
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate(timeout=SECONDS)


@pytest.fixture
def message() -> Callable[..., Message]:
    def make(body: str | bytes = "", queue: str = "q", **fields: Any) -> Message:
        return Message(body=body.encode() if isinstance(body, str) else body, routing_key=queue, **fields)

    return make
