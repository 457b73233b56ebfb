"""Every installed serializer keeps the contract of serializers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.testing.contracts.serializer import SerializerBench, SerializerContract
from celeriac.testing.harness import harness_modules

MODULES = harness_modules("serializer")


class TestInstalledSerializers(SerializerContract):
    @pytest.fixture(params=MODULES.values(), ids=MODULES.keys())
    def bench(self, request: pytest.FixtureRequest) -> Iterator[SerializerBench]:
        with SerializerBench(request.param) as bench:
            yield bench
