"""The whole contracts on Redis where only the connection differs: under Sentinels, over TLS, and with few rights.

That they pass with few rights shows that the documentation asks for enough of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

import redis_places
from redis_places import Place

from celeriac.testing.contracts.coordinator import CoordinatorBench, CoordinatorContract
from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.results import ResultStoreContract
from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench

pytestmark = [pytest.mark.fault]


@pytest.fixture(scope="module", params=["sentinels", "tls", "few_rights"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with getattr(redis_places, request.param)() as place:
        yield place


class TestTransports(TransportContract):
    @pytest.fixture
    def bench(self, place: Place) -> Iterator[TransportBench]:
        with TransportBench(place) as bench:
            yield bench


class TestResultStores(ResultStoreContract):
    @pytest.fixture
    def bench(self, place: Place) -> Iterator[ResultsBench]:
        with ResultsBench(place) as bench:
            yield bench


class TestCoordinators(CoordinatorContract):
    @pytest.fixture
    def bench(self, place: Place) -> Iterator[CoordinatorBench]:
        with CoordinatorBench(place) as bench:
            yield bench
