"""The contracts on Redis behind other doors than the plain one that the harness of the bundle opens.

All of them on a Cluster and under Sentinels, where other code is at work; over TLS, over a Unix socket and as a user
with few rights only the connection differs, so one part of each contract is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)
pytest.importorskip("celeriac_redis.transport")

from redis_places import WORKER_RIGHTS, Place, cluster_place, sentinel_place, server_place
from redis_servers import redis_cluster, redis_sentinels, redis_server, socket_server, tls_server

from celeriac.testing.contracts.coordinator import CoordinatorBench, CoordinatorContract, LeaseTests
from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.result_stores.waiting import Waiting
from celeriac.testing.contracts.results import ResultStoreContract
from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.committing import Committing
from celeriac.testing.contracts.transports.publishing import Receiving


@pytest.fixture(scope="module")
def cluster() -> Iterator[Place]:
    with redis_cluster() as cluster:
        yield cluster_place(cluster)


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Place]:
    with redis_sentinels() as trio:
        yield sentinel_place(trio)


@pytest.fixture(scope="module")
def tls() -> Iterator[Place]:
    with tls_server() as server:
        yield server_place(server)


@pytest.fixture(scope="module")
def unix_socket() -> Iterator[Place]:
    with socket_server() as server:
        yield server_place(server)


@pytest.fixture(scope="module")
def few_rights() -> Iterator[Place]:
    root = {"username": "default", "password": "secret"}
    rights = ("--user", "worker", "on", ">pass@word", *WORKER_RIGHTS, "--requirepass", "secret")
    with redis_server(*rights, user="worker", password="pass@word", administrator=root) as server:
        yield server_place(server)


WHOLE = ["cluster", "sentinels"]
PART = ["tls", "unix_socket", "few_rights"]


@pytest.fixture(params=WHOLE)
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=PART)
def door(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


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


class TestTransportsBehindADoor(Receiving, Committing):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[TransportBench]:
        with TransportBench(door) as bench:
            yield bench


class TestResultStoresBehindADoor(Waiting):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[ResultsBench]:
        with ResultsBench(door) as bench:
            yield bench


class TestCoordinatorsBehindADoor(LeaseTests):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[CoordinatorBench]:
        with CoordinatorBench(door) as bench:
            yield bench
