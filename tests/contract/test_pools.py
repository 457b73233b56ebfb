"""Every installed pool keeps the contract of pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.contracts.pool import PoolContract
from celeriac.testing.harness import PoolHarness, harness_modules, open_harness

MODULES = harness_modules("pool")

pytestmark = pytest.mark.timeout(120)  # many processes are made, one after the other


class TestInstalledPools(PoolContract):
    @pytest.fixture(params=MODULES.values(), ids=MODULES.keys())
    def pool_harness(self, request: pytest.FixtureRequest) -> Iterator[PoolHarness]:
        with open_harness(request.param, "pool") as harness:
            if harness.needs_patch:
                pytest.skip(f"needs a process patched for {harness.needs_patch}: see test_green_pools.py")
            yield harness
