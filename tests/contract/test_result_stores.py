"""Every installed result store keeps the contract of result stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.results import ResultStoreContract
from celeriac.testing.harness import harness_modules

MODULES = harness_modules("results")


class TestInstalledResultStores(ResultStoreContract):
    @pytest.fixture(params=MODULES.values(), ids=MODULES.keys())
    def bench(self, request: pytest.FixtureRequest) -> Iterator[ResultsBench]:
        with ResultsBench(request.param) as bench:
            yield bench
