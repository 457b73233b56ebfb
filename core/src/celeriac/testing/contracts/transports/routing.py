"""Exchanges and bindings: which queues a message reaches."""

from __future__ import annotations

import pytest

from celeriac.errors import ConfigurationError, Unroutable
from celeriac.model.message import Message
from celeriac.model.routing import Exchange, Queue
from celeriac.spi.transport import Declares, Transport
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import TransportBench, TransportTests, as_a, message

__all__ = ["Routing"]


class Routing(TransportTests):
    """For transports that declare `exchanges`."""

    def test_a_declared_queue_without_an_exchange_is_reached_by_its_name(self, bench: TransportBench) -> None:
        transport = _declared(bench, Queue("plain"))

        bench.publish(transport, "x", queue="plain")

        assert bench.drain(transport, ["plain"]) == ["x"]

    def test_a_queue_bound_to_an_exchange_is_still_reached_by_its_name(self, bench: TransportBench) -> None:
        transport = _declared(bench, Queue("bound", _exchange(bench, "direct"), "key"))

        bench.publish(transport, "x", queue="bound")

        assert bench.drain(transport, ["bound"]) == ["x"]

    def test_a_direct_exchange_takes_the_routing_key_as_it_is(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "direct")
        transport = _declared(
            bench, Queue("one", exchange, "red"), Queue("two", exchange, "red"), Queue("three", exchange, "blue")
        )

        _send(transport, exchange, "red")

        assert _filled(bench, transport, "one", "two", "three") == {"one", "two"}

    @pytest.mark.parametrize(
        ("key", "reached"),
        [
            ("eu.paris.hot", {"star", "hash", "all"}),
            ("eu.hot", {"hash", "all"}),
            ("eu", {"hash", "all"}),
            ("us.austin.hot", {"all"}),
            ("eu.paris.cold", {"hash", "all"}),
        ],
    )
    def test_a_topic_exchange_matches_words(self, bench: TransportBench, key: str, reached: set[str]) -> None:
        exchange = _exchange(bench, "topic")
        transport = _declared(
            bench, Queue("star", exchange, "eu.*.hot"), Queue("hash", exchange, "eu.#"), Queue("all", exchange, "#")
        )

        _send(transport, exchange, key)

        assert _filled(bench, transport, "star", "hash", "all") == reached

    def test_a_fanout_exchange_reaches_every_queue_whatever_the_key(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "fanout")
        transport = _declared(bench, Queue("one", exchange), Queue("two", exchange, "other"), Queue("three"))

        _send(transport, exchange, "anything")

        assert _filled(bench, transport, "one", "two", "three") == {"one", "two"}

    def test_a_queue_gets_one_copy_however_many_of_its_bindings_match(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "topic")
        transport = _declared(bench, Queue("one", exchange, "a.*"), Queue("one", exchange, "*.b"))

        _send(transport, exchange, "a.b")

        assert bench.drain(transport, ["one"]) == ["a.b"]

    def test_the_copies_of_one_message_are_settled_one_by_one(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "fanout")
        transport = _declared(bench, Queue("one", exchange), Queue("two", exchange))
        _send(transport, exchange, "x")

        bench.settle(transport, bench.take_one(transport, "one"))

        assert bench.take_one(transport, "two").deliveries == 1

    def test_the_message_keeps_its_exchange_and_routing_key(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "topic")
        transport = _declared(bench, Queue("one", exchange, "#"))

        _send(transport, exchange, "a.b")

        delivery = bench.take_one(transport, "one")
        assert (delivery.message.exchange, delivery.message.routing_key) == (exchange.name, "a.b")
        assert delivery.queue == "one"

    @pytest.mark.parametrize("name", ["nowhere", None])
    def test_what_reaches_no_queue_is_unroutable_and_none_of_its_batch_is_published(
        self, bench: TransportBench, name: str | None
    ) -> None:
        exchange = _exchange(bench, "direct")
        transport = _declared(bench, Queue("one", exchange, "known"))
        lost = Message(body=b"lost", routing_key="unknown", exchange=name or exchange.name)
        batch = [message("before", "one"), lost, message("after", "one")]

        with pytest.raises(Unroutable) as caught:
            transport.publish(batch, timeout=TIMEOUT)

        assert (caught.value.exchange, caught.value.routing_key) == (lost.exchange, "unknown")
        bench.assert_empty(transport, "one")

    def test_another_connection_knows_what_was_declared(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "direct")
        transport = _declared(bench, Queue("one", exchange, "key"))
        other = bench.connect("b")

        _send(other, exchange, "key")

        assert bench.drain(transport, ["one"]) == ["key"]

    def test_declaring_again_changes_nothing(self, bench: TransportBench) -> None:
        exchange = _exchange(bench, "direct")
        transport = _declared(bench, Queue("one", exchange, "key"))
        _send(transport, exchange, "key")

        as_a(Declares, transport).declare([Queue("one", exchange, "key")], timeout=TIMEOUT)

        assert bench.drain(transport, ["one"]) == ["key"]

    def test_a_queue_that_publishing_created_may_be_declared(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.require("exchanges")
        exchange = _exchange(bench, "direct")
        bench.publish(transport, "early", queue="one")

        as_a(Declares, transport).declare([Queue("one", exchange, "key")], timeout=TIMEOUT)

        _send(transport, exchange, "key")
        assert bench.drain(transport, ["one"]) == ["early", "key"]

    def test_an_exchange_cannot_change_its_type(self, bench: TransportBench) -> None:
        types = sorted(bench.capabilities.exchanges)
        if len(types) < 2:
            pytest.skip("the transport declares fewer than two exchange types")
        transport = _declared(bench, Queue("one", Exchange("e", types[0])))

        with pytest.raises(ConfigurationError, match="'e'"):
            as_a(Declares, transport).declare([Queue("two", Exchange("e", types[1]))], timeout=TIMEOUT)


def _exchange(bench: TransportBench, type_: str) -> Exchange:
    if type_ not in bench.capabilities.exchanges:
        pytest.skip(f"the transport does not declare {type_} exchanges")
    return Exchange(f"the {type_} one", type_)  # type: ignore[arg-type]  # the line above has checked it


def _declared(bench: TransportBench, *queues: Queue) -> Transport:
    bench.require("exchanges")
    transport = bench.connect()
    as_a(Declares, transport).declare(queues, timeout=TIMEOUT)
    return transport


def _send(transport: Transport, exchange: Exchange, key: str) -> None:
    sent = Message(body=key.encode(), routing_key=key, exchange=exchange.name)
    transport.publish([sent], timeout=TIMEOUT)


def _filled(bench: TransportBench, transport: Transport, *names: str) -> set[str]:
    return {name for name in names if bench.drain(transport, [name])}
