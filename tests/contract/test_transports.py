"""Every installed transport keeps the contract of transports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.harness import harness_modules

MODULES = harness_modules("transport")


class TestInstalledTransports(TransportContract):
    @pytest.fixture(params=MODULES.values(), ids=MODULES.keys())
    def bench(self, request: pytest.FixtureRequest) -> Iterator[TransportBench]:
        with TransportBench(request.param) as bench:
            yield bench
