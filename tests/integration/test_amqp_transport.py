"""What the transport does on a real RabbitMQ beyond the contract: deleted queues, full ones, dead connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celeriac.errors import ConfigurationError, EncodeError, StoreFull, TransportLost, Unroutable, Unsupported
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.routing import Exchange, Queue
from celeriac.spi.service import Context
from celeriac_amqp.failures import LinkLost
from celeriac_amqp.testing import server, vhost
from celeriac_amqp.transport import AmqpTransport

TIMEOUT = 5.0
Connect = Callable[..., AmqpTransport]


@pytest.fixture
def url() -> Iterator[str]:
    with vhost() as url:
        yield url


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    with ExitStack() as stack:

        def connect(**options: Any) -> AmqpTransport:
            given = {"native_delayed_delivery_queue_type": "classic", **options}
            transport = AmqpTransport(Address.parse(url), Context(options=given))
            stack.callback(transport.close)
            transport.open(timeout=TIMEOUT)
            return transport

        yield connect


def publish(transport: AmqpTransport, *texts: str, queue: str = "q", **fields: Any) -> None:
    messages = [Message(body=text.encode(), routing_key=queue, **fields) for text in texts]
    transport.publish(messages, timeout=TIMEOUT)


def take(transport: AmqpTransport, count: int = 1, queue: str = "q") -> list[Delivery]:
    """Take messages that must come."""
    taken: list[Delivery] = []
    end = time.monotonic() + 10
    while len(taken) < count and time.monotonic() < end:
        taken += transport.receive([queue], limit=count - len(taken), timeout=0.5)
    assert len(taken) == count
    return taken


def texts(taken: list[Delivery]) -> list[str]:
    return [delivery.message.body.decode() for delivery in taken]


def api(url: str, method: str, what: str, rest: str, body: Any = None) -> Any:
    """Ask the management plugin about something of the virtual host."""
    return server().call(method, f"{what}/{urlsplit(url).path[1:]}/{rest}", body)


def break_off(transport: AmqpTransport) -> None:
    """End a connection as the death of its process does: nothing is said on the way."""
    transport._closing.set()
    transport._link.fail(LinkLost("gone"))
    transport.close()


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_each_lost_connection_counts(connect: Connect, queue_type: str) -> None:
    publish(connect(queue_type=queue_type), "x")

    for expected in (1, 2, 3, 4):
        transport = connect(queue_type=queue_type)
        (delivery,) = take(transport)
        assert delivery.deliveries == expected
        break_off(transport)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_counts_of_releases_and_of_lost_connections_add_up(connect: Connect, queue_type: str) -> None:
    transport, other = connect(queue_type=queue_type), connect(queue_type=queue_type)
    publish(transport, "x")
    for _ in range(3):
        transport.settle([Verdict(delivery=take(transport)[0], action=Action.RELEASE)], timeout=TIMEOUT)
    take(transport)
    break_off(transport)

    assert take(other)[0].deliveries == 5


def test_what_was_pushed_and_is_not_asked_for_goes_to_others_uncounted(connect: Connect) -> None:
    idle, other = connect(), connect()
    publish(other, "first")
    # It asks for ten, gets one, and never asks again; the server has pushed it what came next.
    taken = idle.receive(["q"], limit=10, timeout=TIMEOUT)
    publish(other, *"abcde")

    found = take(other, 5)

    assert sorted(texts(found)) == list("abcde")
    assert {delivery.deliveries for delivery in found} == {1}
    assert idle.settle([Verdict(delivery=taken[0])], timeout=TIMEOUT) == []


def test_what_was_pushed_goes_back_uncounted_when_the_connection_is_closed(connect: Connect) -> None:
    closing, other = connect(), connect()
    publish(other, "first")
    take(closing, 1)
    closing.receive(["q"], limit=10, timeout=0.1)
    publish(other, *"abc")

    closing.close()

    found = take(other, 4)
    assert {text: delivery.deliveries for text, delivery in zip(texts(found), found, strict=True)} == {
        "first": 2,
        "a": 1,
        "b": 1,
        "c": 1,
    }


def test_a_deleted_queue_is_made_again_by_who_publishes_and_by_who_takes(connect: Connect, url: str) -> None:
    publisher, taker = connect(), connect()
    publish(publisher, "lost")
    taker.receive(["q"], limit=1, timeout=0.1)
    api(url, "DELETE", "queues", "q")

    publish(publisher, "kept")

    assert texts(take(taker)) == ["kept"]


def test_a_queue_that_exists_with_other_properties_is_an_error_that_says_which_and_the_fix(connect: Connect) -> None:
    publish(connect(), "x")

    with pytest.raises(ConfigurationError, match=r"'q' exists.*x-queue-type.*`queue_type`"):
        publish(connect(queue_type="quorum"), "y")
    with pytest.raises(ConfigurationError, match=r"'q' exists.*x-max-priority.*`task_queue_max_priority`"):
        connect().declare([Queue("q", max_priority=3)], timeout=TIMEOUT)


def test_a_queue_that_is_full_says_so_and_what_is_held_stays_held(connect: Connect) -> None:
    transport = connect()
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    transport.declare([Queue("q", arguments=limits)], timeout=TIMEOUT)
    publish(transport, "a")
    (held,) = take(transport)
    publish(transport, "b")

    with pytest.raises(StoreFull, match="full"):
        publish(transport, "c")
    with pytest.raises(StoreFull):
        transport.settle([Verdict(delivery=held, action=Action.RELEASE)], timeout=TIMEOUT)

    assert transport.settle([Verdict(delivery=held)], timeout=TIMEOUT) == []


def test_a_header_that_rabbitmq_has_no_place_for_is_an_error_of_its_message(connect: Connect) -> None:
    transport = connect()
    publish(transport, "before")

    with pytest.raises(EncodeError, match="headers"):
        publish(transport, "x", headers={"k" * 256: 1})

    publish(transport, "after")
    assert texts(take(transport, 2)) == ["before", "after"]


def test_what_cannot_be_decoded_is_a_dead_letter_with_its_bytes(connect: Connect) -> None:
    transport = connect()
    publish(transport, "???")
    (incoming,) = transport._consumer.take(["q"], limit=1, timeout=TIMEOUT)
    incoming.malformed = "unknown field type"

    assert transport._sorted([incoming]) == []
    transport._replace_uncopied()

    (letter,) = transport.letters("dead", limit=10, timeout=TIMEOUT)
    assert (letter.queue, letter.message.body) == ("q", b"???")
    assert "unknown field type" in letter.reason
    assert transport.depths(["q"], timeout=TIMEOUT)[0].waiting == 0


def test_what_rabbitmq_itself_put_among_the_dead_letters_is_shown_and_replayed(connect: Connect) -> None:
    transport = connect()
    transport._letters.prepare(TIMEOUT)
    to_the_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "celeriac.dead", "x-message-ttl": 1}
    transport.declare([Queue("short", arguments=to_the_dead)], timeout=TIMEOUT)
    publish(transport, "x", queue="short", headers={"task": "t"})

    end = time.monotonic() + 10
    while not (letters := transport.letters(limit=10, timeout=TIMEOUT)):
        assert time.monotonic() < end

    (letter,) = letters
    assert (letter.kind, letter.queue, letter.reason) == ("dead", "short", "RabbitMQ: expired")
    assert abs(letter.moment - time.time()) < 60
    assert letter.message.headers == {"task": "t"}
    assert transport.letters(limit=10, timeout=TIMEOUT) == letters
    assert transport.discard([letter.id], timeout=TIMEOUT) == 1


def test_a_delayed_message_to_an_exchange_reaches_the_queues_that_are_bound_and_no_others(connect: Connect) -> None:
    transport = connect()
    exchange = Exchange("e", "topic")
    queues = [Queue("one", exchange, "a.*"), Queue("two", exchange, "#"), Queue("three", exchange, "b")]
    transport.declare([*queues, Queue("a.b")], timeout=TIMEOUT)
    delayed = Message(body=b"x", routing_key="a.b", exchange="e", due=time.time() + 0.5)

    transport.publish([delayed], timeout=TIMEOUT)

    for name in ("one", "two"):
        (delivery,) = take(transport, 1, name)
        assert (delivery.message.exchange, delivery.message.routing_key) == ("e", "a.b")
    assert transport.receive(["three", "a.b"], limit=1, timeout=0.3) == []
    with pytest.raises(Unroutable):
        transport.publish([Message(body=b"", routing_key="a", exchange="no", due=time.time() + 9)], timeout=TIMEOUT)


def test_a_message_that_goes_back_delayed_goes_to_its_own_queue_alone(connect: Connect) -> None:
    transport = connect()
    exchange = Exchange("e", "fanout")
    transport.declare([Queue("one", exchange), Queue("two", exchange)], timeout=TIMEOUT)
    transport.publish([Message(body=b"x", routing_key="k", exchange="e")], timeout=TIMEOUT)
    (mine,) = take(transport, 1, "one")
    take(transport, 1, "two")

    transport.settle([Verdict(delivery=mine, action=Action.RELEASE, delay=0.5)], timeout=TIMEOUT)

    (again,) = take(transport, 1, "one")
    assert (again.message.exchange, again.message.routing_key, again.deliveries) == ("e", "k", 2)
    assert transport.receive(["two"], limit=1, timeout=0.3) == []


def test_all_queues_of_the_virtual_host_are_counted_with_the_management_plugin(connect: Connect) -> None:
    publish(connect(), "x", queue="foreign")

    counted = connect(management_url=server().management_url).depths(timeout=TIMEOUT)

    assert {depth.queue: depth.waiting for depth in counted} == {"foreign": 1}
    assert connect().depths(timeout=TIMEOUT) == []


def test_an_unreachable_management_plugin_is_an_error_that_says_the_fix(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="`management_url`"):
        connect(management_url="http://127.0.0.1:1").depths(timeout=TIMEOUT)


def test_showing_what_waits_is_refused(connect: Connect) -> None:
    with pytest.raises(Unsupported, match="memory"):
        connect().browse("q", limit=1, timeout=TIMEOUT)


@pytest.mark.parametrize(
    "options",
    [
        {"queue_type": "stream"},
        {"native_delayed_delivery_queue_type": "none"},
        {"queue_max_priority": 256},
        {"confirm_publish": False},
    ],
)
def test_an_option_out_of_range_is_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        AmqpTransport(Address.parse(url), Context(options=options))


def test_a_wrong_password_is_named_and_not_shown(url: str) -> None:
    transport = AmqpTransport(Address.parse(url.replace("guest:guest", "guest:hidden")), Context())

    with pytest.raises(TransportLost, match="password") as caught:
        transport.open(timeout=TIMEOUT)

    assert "hidden" not in str(caught.value)


def test_what_was_pushed_and_is_overlooked_for_an_earlier_queue_goes_back(connect: Connect) -> None:
    busy, other = connect(), connect()
    publish(busy, "first", queue="low")
    assert texts(busy.receive(["high", "low"], limit=2, timeout=TIMEOUT)) == ["first"]
    publish(busy, "second", queue="low")
    assert busy._consumer.waiting()["low"] == 1

    found: list[str] = []
    end = time.monotonic() + 20
    while not found and time.monotonic() < end:
        publish(busy, "x", queue="high")
        while not busy._consumer.waiting().get("high"):
            assert time.monotonic() < end
        taken = busy.receive(["high", "low"], limit=1, timeout=TIMEOUT)
        assert texts(taken) == ["x"]
        busy.settle([Verdict(delivery=taken[0])], timeout=TIMEOUT)
        found = texts(other.receive(["low"], limit=1, timeout=0.05))

    assert found == ["second"]
