"""A RabbitMQ that is killed, stopped or short of memory: what it confirmed is there, and workers can go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celeriac.errors import DeadlineExceeded, StoreError, TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.service import Context
from celeriac_amqp.testing import Node, running_server
from celeriac_amqp.transport import AmqpTransport

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]
TIMEOUT = 10.0


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_server() as node:
        yield node


@pytest.fixture
def url(node: Node) -> Iterator[str]:
    with node.vhost() as url:
        yield url


def opened(url: str, **options: Any) -> AmqpTransport:
    given = {"native_delayed_delivery_queue_type": options.get("queue_type", "classic"), **options}
    transport = AmqpTransport(Address.parse(url), Context(options=given))
    end = time.monotonic() + 30
    while True:
        try:
            transport.open(timeout=TIMEOUT)
        except TransportLost:
            transport.close()
            if time.monotonic() > end:
                raise
            transport = AmqpTransport(Address.parse(url), Context(options=given))
        else:
            return transport


def publish(transport: AmqpTransport, *texts: str, **fields: Any) -> None:
    transport.publish([Message(body=text.encode(), routing_key="q", **fields) for text in texts], timeout=TIMEOUT)


def publish_until_stopped(transport: AmqpTransport) -> None:
    for _ in range(3):
        transport.publish([Message(body=b"x", routing_key="q")], timeout=1.0)


def take(transport: AmqpTransport, count: int) -> list[Delivery]:
    taken: list[Delivery] = []
    end = time.monotonic() + 30
    while len(taken) < count and time.monotonic() < end:
        taken += transport.receive(["q"], limit=count - len(taken), timeout=1.0)
    return taken


def _all(transport: AmqpTransport) -> list[Delivery]:
    """Take until the delayed ones have come and no others do."""
    taken: list[Delivery] = []
    end = time.monotonic() + 40
    while time.monotonic() < end:
        found = transport.receive(["q"], limit=100, timeout=3.0)
        taken += found
        if not found and any(delivery.message.body == b"delayed" for delivery in taken):
            break
    return taken


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_confirmed_outlives_the_server_wherever_it_is(node: Node, url: str, queue_type: str, end: str) -> None:
    transport = opened(url, queue_type=queue_type)
    # RabbitMQ writes down what queues there are half a second later; so they are all there before.
    transport._letters.prepare(TIMEOUT)
    publish(transport, "early", due=time.time() + 1.0)
    (early,) = take(transport, 1)
    transport.settle([Verdict(delivery=early, action=Action.DEAD, reason="test")], timeout=TIMEOUT)
    publish(transport, *(f"w{number}" for number in range(50)))
    held = take(transport, 20)
    moved = [
        Verdict(delivery=held[0], action=Action.DEAD, reason="test"),
        Verdict(delivery=held[1], action=Action.PARK, reason="test"),
        Verdict(delivery=held[2], action=Action.RELEASE),
        Verdict(delivery=held[3], action=Action.RELEASE, delay=1.0),
        Verdict(delivery=held[4]),
    ]
    assert transport.settle(moved, timeout=TIMEOUT) == []
    publish(transport, "delayed", due=time.time() + 1.0)
    transport.depths(["q"], timeout=TIMEOUT)  # an answer behind the acknowledgements, which have none

    end_node = node.kill if end == "kill" else node.stop
    end_node()
    with pytest.raises(TransportLost):
        publish(transport, "x")
    with pytest.raises(TransportLost):
        take(transport, 100)  # first comes what had been pushed before
    with pytest.raises(StoreError):
        transport.settle([Verdict(delivery=held[5])], timeout=TIMEOUT)
    transport.close()
    node.start()

    again = opened(url, queue_type=queue_type)
    texts = [delivery.message.body.decode() for delivery in _all(again)]
    letters = again.letters(limit=10, timeout=TIMEOUT)
    aside = {letter.message.body.decode() for letter in letters}
    assert aside == {"early", "w0", "w1"}
    # The copies were confirmed, the acknowledgements of the originals were not: a few may come again.
    assert {"delayed", *(f"w{number}" for number in range(50))} - aside - {"w4"} <= set(texts)
    assert {*texts} <= {"delayed", *(f"w{number}" for number in range(50))}
    again.close()


def test_a_server_that_is_short_of_memory_stops_who_publishes_and_not_who_acknowledges(node: Node, url: str) -> None:
    transport = opened(url)
    publish(transport, *"abc")
    held = take(transport, 2)
    node.ctl("set_vm_memory_high_watermark", "0")
    try:
        # The first publish makes RabbitMQ stop reading; from then on nobody's are confirmed.
        with pytest.raises((DeadlineExceeded, TransportLost)):
            publish_until_stopped(transport)

        assert transport.settle([Verdict(delivery=held[0])], timeout=TIMEOUT) == []
        (third,) = take(transport, 1)
        assert third.message.body == b"c"
        assert transport.depths(["q"], timeout=TIMEOUT)[0].held == 2
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.4")

    publish(transport, "later")
    assert transport.settle([Verdict(delivery=held[1], action=Action.RELEASE)], timeout=TIMEOUT) == []
    transport.close()
