"""The contract of pools holds of the model that the broken pools are made from: so each fails by its defect alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from model_pool import Child, ModelPool

from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool import PoolContract
from celeriac.testing.harness import PoolHarness

pytestmark = pytest.mark.timeout(120)  # many processes are made, one after the other


def nothing(*_):
    raise AssertionError


class TestModelPool(PoolContract):
    recycles = 40

    @pytest.fixture
    def pool_harness(self) -> Iterator[PoolHarness]:
        # What makes processes is a process itself, and stays: it is there before the children are counted.
        Child(PoolContext(execute=print, failed=print, report=print, started=print)).end()
        return PoolHarness(make=ModelPool)
