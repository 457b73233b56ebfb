"""The harness by which `celeriac.testing` checks this pool, in a process that is patched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.spi.pool import Pool, PoolContext
from celeriac.testing.harness import PoolHarness
from celeriac_gevent.patches import is_patched

__all__ = ["pool"]


@contextmanager
def pool() -> Iterator[PoolHarness]:
    """Nothing to set up but the patch, which must have come before everything else."""
    yield PoolHarness(make=_make, needs_patch="" if is_patched() else "gevent")


def _make(concurrency: int, context: PoolContext) -> Pool:
    from celeriac_gevent.pool import GeventPool  # noqa: PLC0415  it imports gevent, which a process that is not patched need not

    return GeventPool(concurrency, context)
