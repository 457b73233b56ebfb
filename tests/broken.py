"""Runs tests of the contract suites on plugins that are broken on purpose."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import Phase

from celeriac.errors import StoreError
from celeriac.model.address import Address
from celeriac.testing.harness import StoreHarness
from celeriac_memory.coordinator import MemoryCoordinator
from celeriac_memory.results import MemoryResults
from celeriac_memory.store import forget, store_at

__all__ = ["FAILURES", "NO_SHRINKING", "MemoryModule", "assert_fails", "promises_of"]

FAILURES = (AssertionError, pytest.fail.Exception, KeyError, RuntimeError, StoreError)
"""What a test raises that has seen the defect."""


NO_SHRINKING = [Phase.explicit, Phase.generate]
"""Where Hypothesis need not look for the smallest example, since any will do."""


class MemoryModule:
    """A harness module for one broken class, over the parts of the memory plugin it names."""

    def __init__(self, broken: type[Any], results: type[MemoryResults] = MemoryResults) -> None:
        self.broken = broken
        self.its_results = getattr(broken, "its_results", results)

    @contextmanager
    def transport(self) -> Iterator[StoreHarness[Any]]:
        with self._fresh() as url:
            yield StoreHarness(self.broken, url, results=self.its_results, coordinator=MemoryCoordinator, patience=0.4)

    results = transport
    coordinator = transport

    @contextmanager
    def _fresh(self) -> Iterator[str]:
        url = f"memory://{uuid.uuid4().hex}"
        address = Address.parse(url)
        for name in ("broker", "joins"):
            part = getattr(self.broken, f"its_{name}", None)
            if part is not None:
                setattr(store_at(address), name, part())
        yield url
        forget(address)


def assert_fails(
    contract: Any, promise: str, bench: Any, parameters: dict[str, Any], *, failures: Any = FAILURES
) -> None:
    """Check that this test of the contract fails on this bench, and does not only skip itself."""
    test = getattr(contract(), f"test_{promise}")
    with pytest.raises(failures), bench:
        test(bench, **parameters)


def promises_of(*contracts: type[Any]) -> list[str]:
    """Return the names of all tests of these contracts, without `test_`."""
    return sorted(
        name.removeprefix("test_")
        for contract in contracts
        for name, _ in inspect.getmembers(contract, inspect.isfunction)
        if name.startswith("test_")
    )
