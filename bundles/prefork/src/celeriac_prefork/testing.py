"""The harness by which `celeriac.testing` checks this pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.testing.harness import PoolHarness
from celeriac_prefork.pool import PreforkPool

__all__ = ["pool"]


@contextmanager
def pool() -> Iterator[PoolHarness]:
    """Nothing to set up: a pool brings all it needs."""
    yield PoolHarness(make=PreforkPool)
