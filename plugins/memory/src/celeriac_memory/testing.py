"""The harnesses by which the contract suites test this distribution."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.model.address import Address
from celeriac.testing.harness import StoreHarness
from celeriac_memory.coordinator import MemoryCoordinator
from celeriac_memory.results import MemoryResults
from celeriac_memory.store import forget
from celeriac_memory.transport import MemoryTransport

__all__ = ["coordinator", "results", "transport"]


@contextmanager
def _fresh_url() -> Iterator[str]:
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    forget(Address.parse(url))


@contextmanager
def transport() -> Iterator[StoreHarness[MemoryTransport]]:
    """Give an empty store to transports."""
    with _fresh_url() as url:
        yield StoreHarness(MemoryTransport, url, results=MemoryResults)


@contextmanager
def results() -> Iterator[StoreHarness[MemoryResults]]:
    """Give an empty store to result stores."""
    with _fresh_url() as url:
        yield StoreHarness(MemoryResults, url)


@contextmanager
def coordinator() -> Iterator[StoreHarness[MemoryCoordinator]]:
    """Give an empty store to coordinators."""
    with _fresh_url() as url:
        yield StoreHarness(MemoryCoordinator, url)
