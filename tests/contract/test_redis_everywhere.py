"""The contracts on Redis behind other doors than the plain one that the harness of the bundle opens.

All of them on a Cluster, where other code is at work. Under Sentinels, over TLS, over a Unix socket and as a user with
few rights only the connection differs: a part of each contract here, the whole in tests/faults.
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

from celeriac.testing.contracts.coordinator import CoordinatorBench, CoordinatorContract, SetTests
from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.result_stores.waiting import Waiting
from celeriac.testing.contracts.results import ResultStoreContract
from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.publishing import Receiving
from celeriac.testing.contracts.transports.revoking import Revoking


@pytest.fixture(scope="module")
def cluster() -> Iterator[Place]:
    with redis_places.cluster() as place:
        yield place


@pytest.fixture(scope="module", params=["sentinels", "tls", "unix_socket", "few_rights"])
def door(request: pytest.FixtureRequest) -> Iterator[Place]:
    with getattr(redis_places, request.param)() as place:
        yield place


class TestTransportsOnACluster(TransportContract):
    @pytest.fixture
    def bench(self, cluster: Place) -> Iterator[TransportBench]:
        with TransportBench(cluster) as bench:
            yield bench


class TestResultStoresOnACluster(ResultStoreContract):
    @pytest.fixture
    def bench(self, cluster: Place) -> Iterator[ResultsBench]:
        with ResultsBench(cluster) as bench:
            yield bench


class TestCoordinatorsOnACluster(CoordinatorContract):
    @pytest.fixture
    def bench(self, cluster: Place) -> Iterator[CoordinatorBench]:
        with CoordinatorBench(cluster) as bench:
            yield bench


class TestTransportsBehindADoor(Receiving, Revoking):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[TransportBench]:
        with TransportBench(door) as bench:
            yield bench


class TestResultStoresBehindADoor(Waiting):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[ResultsBench]:
        with ResultsBench(door) as bench:
            yield bench


class TestCoordinatorsBehindADoor(SetTests):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[CoordinatorBench]:
        with CoordinatorBench(door) as bench:
            yield bench
