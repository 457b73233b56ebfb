"""The contract on RabbitMQ in other ways than on classic queues of a plain virtual host, as the bundle itself has it.

All of it on quorum queues, which count deliveries themselves. Over TLS, with several hosts, in virtual hosts of odd
names and as a user with few rights only the connection differs: a part of the contract.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

import amqp_places
from amqp_places import Place

from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.publishing import Receiving

DOORS = ("tls", "first_host_down", "alternatives", "odd_names", "few_rights")


@pytest.fixture(scope="module")
def quorum() -> Iterator[Place]:
    with amqp_places.quorum() as place:
        yield place


@pytest.fixture(scope="module", params=DOORS)
def door(request: pytest.FixtureRequest) -> Iterator[Place]:
    with getattr(amqp_places, request.param)() as place:
        yield place


class TestTransportsOnQuorumQueues(TransportContract):
    @pytest.fixture
    def bench(self, quorum: Place) -> Iterator[TransportBench]:
        with TransportBench(quorum) as bench:
            yield bench


class TestTransportsBehindADoor(Receiving):
    @pytest.fixture
    def bench(self, door: Place) -> Iterator[TransportBench]:
        with TransportBench(door) as bench:
            yield bench
