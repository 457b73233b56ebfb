"""Many connections make the same quorum queue at once, which RabbitMQ 3 closes those for that consume it too early."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celeriac.errors import TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.spi.service import Context
from celeriac_amqp.testing import vhost
from celeriac_amqp.transport import AmqpTransport

TIMEOUT = 20.0
CONNECTIONS = 10


@pytest.fixture
def connect() -> Iterator[Callable[[], AmqpTransport]]:
    with vhost() as url, ExitStack() as stack:

        def connect() -> AmqpTransport:
            transport = AmqpTransport(Address.parse(url), Context(options={"queue_type": "quorum"}))
            stack.callback(transport.close)
            transport.open(timeout=TIMEOUT)
            return transport

        yield connect


def test_what_is_published_first_arrives_though_many_make_its_queue(connect: Callable[[], AmqpTransport]) -> None:
    transports = [connect() for _ in range(CONNECTIONS)]
    barrier = threading.Barrier(CONNECTIONS)

    def publish(transport: AmqpTransport, queue: str) -> None:
        barrier.wait(TIMEOUT)
        transport.publish([Message(body=b"x", routing_key=queue)], timeout=TIMEOUT)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for round_ in range(10):
            queue = f"q{round_}"
            for done in [pool.submit(publish, transport, queue) for transport in transports]:
                done.result()
            [depth] = transports[0].depths([queue], timeout=TIMEOUT)
            assert depth.waiting == CONNECTIONS


def test_who_takes_from_a_queue_while_it_is_made_takes_from_it_after_connecting_again(
    connect: Callable[[], AmqpTransport],
) -> None:
    maker = connect()

    for round_ in range(10):
        queue, taker, barrier = f"q{round_}", connect(), threading.Barrier(2)

        def publish(queue: str = queue, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(TIMEOUT)
            maker.publish([Message(body=b"x", routing_key=queue)], timeout=TIMEOUT)

        with ThreadPoolExecutor(1) as pool:
            published = pool.submit(publish)
            barrier.wait(TIMEOUT)
            try:
                taken = taker.receive([queue], limit=1, timeout=TIMEOUT)
            except TransportLost as lost:
                assert "541" in str(lost)  # noqa: PT017  or it takes at once
                published.result()
                taken = connect().receive([queue], limit=1, timeout=TIMEOUT)
            published.result()
        assert [each.message.body for each in taken] == [b"x"]
