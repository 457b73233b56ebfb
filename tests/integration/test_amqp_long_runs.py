"""What a connection holds for longer than RabbitMQ lets a delivery stay unacknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from running import eventually

from celeriac.errors import InvalidSetting, TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.service import Context
from celeriac_amqp.failures import LinkLost
from celeriac_amqp.publication import Publication
from celeriac_amqp.testing import Node, running_server
from celeriac_amqp.transport import AmqpTransport

SECONDS = 5.0
TIMEOUT = 2.0
Connect = Callable[..., AmqpTransport]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    advanced = "[{rabbit, [{channel_tick_interval, 250}]}]."
    with running_server(consumer_timeout=round(TIMEOUT * 1000), advanced=advanced) as node:
        yield node


@pytest.fixture
def url(node: Node) -> Iterator[str]:
    with node.vhost() as url:
        yield url


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect(queue_type: str = "classic", to: str = url, **options: Any) -> AmqpTransport:
            given = {"queue_type": queue_type, "native_delayed_delivery_queue_type": queue_type, "hold_seconds": 0.4}
            transport = AmqpTransport(Address.parse(to), Context(options={**given, **options}))
            transport._long_runs.live_seconds = 1.0
            stack.callback(transport.close)
            transport.open(timeout=SECONDS)
            return transport

        yield connect


def publish(transport: AmqpTransport, *texts: str, **fields: Any) -> None:
    fields = {"routing_key": "q", **fields}
    transport.publish([Message(body=text.encode(), **fields) for text in texts], timeout=SECONDS)


def take(transport: AmqpTransport, count: int = 1, queue: str = "q") -> list[Delivery]:
    taken: list[Delivery] = []
    end = time.monotonic() + 20
    while len(taken) < count and time.monotonic() < end:
        taken += transport.receive([queue], limit=count - len(taken), timeout=0.5)
    assert len(taken) == count
    return taken


def moved(transport: AmqpTransport, count: int) -> None:
    eventually(lambda: transport._hold.moved() == count, f"{count} deliveries were moved")


def rest(transport: AmqpTransport, queue: str = "q") -> tuple[int, int]:
    """Return how many messages wait in a queue, and how many in the connection's own."""
    [first, second] = transport._inspection.depths([queue, transport._long_runs.name], SECONDS)
    waiting = {each.queue: each.waiting for each in (first, second)}
    return waiting[queue], waiting[transport._long_runs.name]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_what_is_held_for_long_stays_held_and_is_settled(connect: Connect, queue_type: str) -> None:
    transport, other = connect(queue_type), connect(queue_type)
    publish(transport, *"abc")
    held = take(transport, 3)

    time.sleep(2.5 * TIMEOUT)  # that nothing comes of it can only be waited for

    assert other.receive(["q"], limit=3, timeout=0.0) == []
    assert transport.depths(["q"], timeout=SECONDS)[0].held == 3
    assert transport.settle([Verdict(delivery=each) for each in held], timeout=SECONDS) == []
    assert transport.settle([Verdict(delivery=held[0])], timeout=SECONDS) == [Verdict(delivery=held[0])]
    transport._link.fail(LinkLost("gone"))
    assert other.receive(["q"], limit=3, timeout=3.0) == []
    assert rest(other) == (0, 0)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_what_a_lost_connection_held_returns_as_it_was_with_its_count(connect: Connect, queue_type: str) -> None:
    transport, other = connect(queue_type), connect(queue_type)
    fields: dict[str, Any] = {
        "headers": {"id": "1", "deep": {"list": [1, "x", None]}},
        "properties": {"correlation_id": "c", "reply_to": "r", "delivery_mode": 2},
        "content_type": "application/x",
        "expires": time.time() + 3600,
    }
    publish(transport, "a", **fields)
    [held] = take(transport)
    moved(transport, 1)

    transport._link.fail(LinkLost("gone"))

    [back] = take(other)
    assert back.message == held.message
    assert (back.queue, back.deliveries) == ("q", 2)
    with pytest.raises(TransportLost):
        transport.settle([Verdict(delivery=held)], timeout=SECONDS)
    # It moves again from here, and is counted once more.
    moved(other, 1)
    other._link.fail(LinkLost("gone"))
    [again] = take(connect(queue_type))
    assert (again.message, again.deliveries) == (held.message, 3)


def test_what_is_held_away_takes_no_place_in_the_window_of_its_queue(connect: Connect) -> None:
    transport = connect()
    publish(transport, *"abc")
    take(transport, 3)

    moved(transport, 3)

    assert [each.held for each in transport._consumer._channel.by_name.values()] == [0]  # type: ignore[union-attr]
    publish(transport, *"de")
    assert [each.message.body for each in take(transport, 2)] == [b"d", b"e"]


@pytest.mark.parametrize("action", [Action.RELEASE, Action.DEAD, Action.PARK])
def test_what_is_held_away_can_go_anywhere(connect: Connect, action: Action) -> None:
    transport = connect()
    publish(transport, "a")
    [held] = take(transport)
    moved(transport, 1)

    assert transport.settle([Verdict(delivery=held, action=action, reason="test")], timeout=SECONDS) == []

    if action is Action.RELEASE:
        [back] = take(transport)
        assert (back.message, back.deliveries) == (held.message, 2)
    else:
        [letter] = transport.letters("dead" if action is Action.DEAD else "parked", limit=9, timeout=SECONDS)
        assert (letter.message, letter.reason) == (held.message, "test")
    assert rest(transport) == (0, 0)


class Meddling:
    """Publishes like another one, after it has done something else."""

    def __init__(self, publication: Publication, before: Callable[[], object]) -> None:
        self._publication = publication
        self._before = before

    def send(self, out: Any, end: float) -> None:
        self._publication.send(out, end)
        self._before()

    def close(self) -> None:
        self._publication.close()


def test_what_is_settled_while_it_moves_stays_settled(connect: Connect) -> None:
    transport, other = connect(hold_seconds=0.0), connect()
    publish(transport, *"ab")
    held = take(transport, 2)
    transport._hold._ages = True
    transport._hold.add(held, time.monotonic() - 60)
    refused: list[Verdict] = []
    long_runs = transport._long_runs
    long_runs._seconds = 30.0
    long_runs._publication = Meddling(  # type: ignore[assignment]
        transport._publication, lambda: refused.extend(transport.settle([Verdict(delivery=held[0])], timeout=SECONDS))
    )

    long_runs.move(time.monotonic() + SECONDS)

    assert refused == []
    assert transport._hold.moved() == 1
    transport._link.fail(LinkLost("gone"))
    assert [each.message.body for each in take(other)] == [b"b"]
    assert other.receive(["q"], limit=3, timeout=3.0) == []


def test_a_verdict_over_a_connection_that_is_dead_and_does_not_know_it_changes_nothing(
    node: Node, connect: Connect
) -> None:
    transport, other = connect(), connect()
    publish(transport, "before", routing_key="next")
    publish(transport, "a")
    [held] = take(transport)
    moved(transport, 1)
    [connection] = [
        each["name"]
        for each in eventually(lambda: node.call("GET", "connections"), "connections")
        if each["client_properties"].get("connection_name", "").endswith("takes")
        and each["vhost"] == urlsplit(transport.address.masked).path[1:]
        and each["name"].split(":")[1].split(" ")[0] == str(_port(transport))
    ]
    node.call("DELETE", f"connections/{quote(connection)}")

    with pytest.raises(TransportLost):
        transport.settle(
            [Verdict(delivery=held, followups=(Message(body=b"next", routing_key="next"),))], timeout=SECONDS
        )

    [back] = take(other)
    assert (back.message, back.deliveries) == (held.message, 2)
    assert other.depths(["next"], timeout=SECONDS)[0].waiting == 1


def _port(transport: AmqpTransport) -> int:
    wire = transport._link._pump.wire
    assert wire is not None
    return int(wire._socket.getsockname()[1])


def test_a_publishing_connection_that_broke_does_not_end_the_hold(connect: Connect) -> None:
    transport, other = connect(), connect()
    publish(transport, "a")
    link = transport._publication._link
    assert link is not None
    link.fail(LinkLost("gone"))

    [held] = take(transport)
    moved(transport, 1)
    time.sleep(1.5 * TIMEOUT)

    assert other.receive(["q"], limit=1, timeout=0.0) == []
    assert transport.settle([Verdict(delivery=held)], timeout=SECONDS) == []


def test_a_held_queue_that_somebody_deletes_is_made_again(connect: Connect) -> None:
    transport, other = connect(), connect()
    publish(transport, "a")
    [held] = take(transport)
    moved(transport, 1)

    other._topology._asking.run(lambda channel: channel.queue_delete(transport._long_runs.name), SECONDS)

    tag = transport._hold._moved[held.tag[1]][0]
    eventually(lambda: transport._hold._moved[held.tag[1]][0] != tag, "it is exchanged for another copy")
    time.sleep(TIMEOUT)
    transport._link.fail(LinkLost("gone"))
    assert take(other)[0].message == held.message


def test_the_queue_goes_with_a_connection_that_holds_nothing(connect: Connect) -> None:
    transport, other = connect(), connect()
    publish(transport, "a")
    [held] = take(transport)
    moved(transport, 1)
    name = transport._long_runs.name
    transport.settle([Verdict(delivery=held)], timeout=SECONDS)

    transport.close()

    assert not _there(other, name)


def test_what_is_held_away_at_a_close_goes_back(connect: Connect) -> None:
    transport, other = connect(), connect()
    publish(transport, "a")
    [held] = take(transport)
    moved(transport, 1)

    transport.close()

    assert take(other)[0].message == held.message


def _there(transport: AmqpTransport, queue: str) -> bool:
    asked = transport._topology._asking
    try:
        asked.run(lambda channel: channel.queue_declare(queue, passive=True), SECONDS)
    except Exception:  # noqa: BLE001  whatever it says, it is not there
        return False
    return True


def test_nothing_moves_where_that_is_switched_off(connect: Connect) -> None:
    transport = connect(hold_seconds=0.0)
    publish(transport, "a")
    [held] = take(transport)

    with pytest.raises(TransportLost, match="set `hold_seconds`"):
        transport.receive(["q"], limit=1, timeout=10.0)

    assert transport._long_runs._thread is None
    assert held.deliveries == 1


def test_a_hold_of_less_than_no_time_is_refused(connect: Connect) -> None:
    with pytest.raises(InvalidSetting, match="0 or more"):
        connect(hold_seconds=-1.0)
