"""Every installed coordinator keeps the contract of coordinators."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.contracts.coordinator import CoordinatorBench, CoordinatorContract
from celeriac.testing.harness import harness_modules

MODULES = harness_modules("coordinator")


class TestInstalledCoordinators(CoordinatorContract):
    @pytest.fixture(params=MODULES.values(), ids=MODULES.keys())
    def bench(self, request: pytest.FixtureRequest) -> Iterator[CoordinatorBench]:
        with CoordinatorBench(request.param) as bench:
            yield bench
