"""The contract of pools, as tests.

    class TestMyPool(PoolContract):
        @pytest.fixture
        def pool_harness(self) -> Iterator[PoolHarness]:
            with my_package.testing.pool() as harness:
                yield harness

The tests look at a pool from outside only: at what it tells this process, and at the lines that its tasks write to a
file. So they hold for threads, greenlets and processes alike. What a pool does not declare is skipped.
"""

from __future__ import annotations

from celeriac.testing.contracts.pool_children import ChildrenContract
from celeriac.testing.contracts.pool_coroutines import CoroutinesContract
from celeriac.testing.contracts.pool_endings import EndingsContract
from celeriac.testing.contracts.pool_lifetimes import LifetimesContract
from celeriac.testing.contracts.pool_limits import LimitsContract
from celeriac.testing.contracts.pool_places import PlacesContract
from celeriac.testing.contracts.pool_sizes import SizesContract
from celeriac.testing.contracts.pool_work import WorkContract

__all__ = ["PoolContract"]


class PoolContract(
    WorkContract,
    LimitsContract,
    EndingsContract,
    SizesContract,
    PlacesContract,
    ChildrenContract,
    CoroutinesContract,
    LifetimesContract,
):
    """Everything that `celeriac.spi.pool` promises. Every test also ends with `PoolRig.account`."""
