"""Publishing and receiving: what goes in comes out, complete, unchanged, in order."""

from __future__ import annotations

from contextlib import suppress

import pytest

from celeriac.errors import StoreError
from celeriac.model.message import Message
from celeriac.model.outcome import Action
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import OPTIONAL, Q, TransportBench, TransportTests, bodies, message

__all__ = ["Publishing", "Receiving"]


class Publishing(TransportTests):
    """`publish`."""

    def test_a_message_arrives_as_it_was_published(self, bench: TransportBench) -> None:
        transport = bench.connect()
        sent = Message(
            body=bytes(range(256)),
            routing_key=Q,
            headers={"id": "1", "nested": {"list": [1, None, True, 1.5]}, "name": "Grüße 🥬", "empty": None},
            properties={"correlation_id": "1", "reply_to": "back", "delivery_mode": 2},
            content_type="application/x-python-serialize",
            content_encoding="binary",
            expires=4_000_000_000.5,
        )

        transport.publish([sent], timeout=TIMEOUT)
        delivery = bench.take_one(transport)

        assert delivery.message == sent
        assert delivery.queue == Q
        assert delivery.deliveries == 1

    @pytest.mark.parametrize("size", [0, 1, 1_000_000])
    def test_a_body_may_have_any_size(self, bench: TransportBench, size: int) -> None:
        transport = bench.connect()
        body = b"\x00\xff" * (size // 2) + b"\x00" * (size % 2)

        transport.publish([message(body)], timeout=TIMEOUT)

        arrived = bench.take_one(transport).message.body
        same = arrived == body  # where CI is set, pytest would look for half a minute for how a megabyte differs
        assert same, f"of {size} bytes came {len(arrived)}, or others"

    @pytest.mark.parametrize("name", ["with space", "a.b.c", "naïve-🥬", "quote'\"`;--", "%s", "a/../b", "A"])
    def test_a_queue_may_have_any_name(self, bench: TransportBench, name: str) -> None:
        transport = bench.connect()

        bench.publish(transport, "here", queue=name)
        bench.publish(transport, "there", queue=name + "2")

        assert bodies(bench.take(transport, 1, [name])) == ["here"]
        bench.assert_empty(transport, name)

    def test_every_connection_sees_what_another_published(self, bench: TransportBench) -> None:
        publisher, receiver = bench.connect("a"), bench.connect("b")

        bench.publish(publisher, "x")

        assert bodies(bench.take(receiver)) == ["x"]

    def test_messages_come_in_the_order_they_were_published(self, bench: TransportBench) -> None:
        transport = bench.connect()
        texts = [str(number) for number in range(200)]
        bench.publish(transport, *texts[:100])
        for text in texts[100:110]:
            bench.publish(transport, text)
        bench.publish(transport, *texts[110:])

        taken = [bench.take_one(transport) for _ in range(20)] + bench.take(transport, 180)

        assert bodies(taken) == texts

    def test_publishing_nothing_does_nothing(self, bench: TransportBench) -> None:
        transport = bench.connect()

        transport.publish([], timeout=TIMEOUT)

        bench.assert_empty(transport)

    def test_a_message_reaches_its_own_queue_only(self, bench: TransportBench) -> None:
        transport = bench.connect()

        transport.publish([message("1", "one"), message("2", "two")], timeout=TIMEOUT)

        assert bodies(bench.take(transport, 1, ["two"])) == ["2"]
        bench.assert_empty(transport, "two")
        assert bodies(bench.take(transport, 1, ["one"])) == ["1"]

    def test_what_was_accepted_outlives_the_connection(self, bench: TransportBench) -> None:
        publisher = bench.connect()
        bench.publish(publisher, "x")

        publisher.close()

        assert bodies(bench.take(bench.connect())) == ["x"]

    def test_a_due_moment_in_the_past_is_now(self, bench: TransportBench) -> None:
        bench.require("delays")
        transport = bench.connect()

        bench.publish(transport, "x", due=bench.clock.time() - 60)

        assert bodies(bench.take(transport)) == ["x"]


class Receiving(TransportTests):
    """`receive`, `wake` and `close`."""

    def test_capabilities_and_interfaces_agree(self, bench: TransportBench) -> None:
        transport = bench.unopened()

        for capability, interface in OPTIONAL.items():
            declared = bool(getattr(transport.capabilities, capability))
            assert isinstance(transport, interface) == declared, f"{capability} and {interface.__name__} disagree"

    def test_no_more_than_the_limit_is_taken(self, bench: TransportBench) -> None:
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, *"abcde")

        taken = bench.look(transport, limit=3)

        assert 1 <= len(taken) <= 3
        assert sorted(bodies(taken) + bodies(bench.take(other, 5 - len(taken)))) == list("abcde")

    def test_a_message_is_given_to_one_holder_only(self, bench: TransportBench) -> None:
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")

        bench.take(transport)

        bench.assert_empty(other)
        bench.assert_empty(transport)

    def test_an_earlier_queue_wins(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, "1", "2", queue="low")
        bench.publish(transport, "3", "4", queue="high")

        taken = bench.take(transport, 4, ["high", "low"])

        assert bodies(taken) == ["3", "4", "1", "2"]
        assert [delivery.queue for delivery in taken] == ["high", "high", "low", "low"]

    def test_a_queue_that_does_not_exist_is_empty(self, bench: TransportBench) -> None:
        transport = bench.connect()

        bench.assert_empty(transport, "nowhere")

        bench.publish(transport, "x", queue="nowhere")
        assert bodies(bench.take(transport, 1, ["nowhere"])) == ["x"]

    def test_receiving_ends_after_its_timeout(self, bench: TransportBench) -> None:
        transport = bench.connect()

        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=0.3))

        assert bench.drive(receiving) == []

    def test_a_blocked_receiver_gets_what_another_publishes(self, bench: TransportBench) -> None:
        receiver, publisher = bench.connect("a"), bench.connect("b")
        receiving = bench.background(lambda: receiver.receive([Q, "other"], limit=10, timeout=60))
        assert bench.is_blocked(receiving)

        bench.publish(publisher, "x")

        assert bodies(bench.outcome(receiving)) == ["x"]

    def test_a_blocked_receiver_gets_what_another_hands_back(self, bench: TransportBench) -> None:
        receiver, other = bench.connect("a"), bench.connect("b")
        bench.publish(other, "x")
        held = bench.take_one(other)
        receiving = bench.background(lambda: receiver.receive([Q], limit=10, timeout=60))
        assert bench.is_blocked(receiving)

        bench.settle(other, held, action=Action.RELEASE, counted=False)

        assert bodies(bench.outcome(receiving)) == ["x"]

    def test_waking_ends_a_blocked_receive(self, bench: TransportBench) -> None:
        transport = bench.connect()
        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=60))
        assert bench.is_blocked(receiving)

        transport.wake()

        assert bench.outcome(receiving) == []

    def test_waking_when_nothing_is_blocked_ends_the_next_receive(self, bench: TransportBench) -> None:
        transport = bench.connect()

        transport.wake()
        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=60))

        assert bench.outcome(receiving) == []

    def test_waking_loses_no_message_and_lasts_for_one_receive(self, bench: TransportBench) -> None:
        transport = bench.connect()
        bench.publish(transport, "x")
        transport.wake()
        first = bench.look(transport)

        rest = bench.take(transport, 1 - len(first))

        assert bodies(first + rest) == ["x"]
        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=60))
        assert bench.is_blocked(receiving)
        transport.wake()
        bench.outcome(receiving)

    def test_waking_one_connection_leaves_another_blocked(self, bench: TransportBench) -> None:
        transport, other = bench.connect("a"), bench.connect("b")
        receiving = bench.background(lambda: other.receive([Q], limit=1, timeout=60))

        transport.wake()

        assert bench.is_blocked(receiving)
        other.wake()
        bench.outcome(receiving)

    def test_closing_twice_or_before_opening_does_nothing(self, bench: TransportBench) -> None:
        unopened, transport = bench.unopened(), bench.connect()

        unopened.close()
        transport.close()
        transport.close()

    def test_closing_ends_a_blocked_receive(self, bench: TransportBench) -> None:
        transport = bench.connect()
        receiving = bench.background(lambda: transport.receive([Q], limit=1, timeout=60))
        assert bench.is_blocked(receiving)

        transport.close()

        with suppress(StoreError):  # It may as well say that the connection is gone.
            assert bench.outcome(receiving) == []

    def test_a_closed_connection_says_so(self, bench: TransportBench) -> None:
        transport = bench.connect()

        transport.close()

        with pytest.raises(StoreError):
            bench.publish(transport, "x")

    def test_calls_are_counted(self, bench: TransportBench) -> None:
        transport = bench.connect()

        bench.publish(transport, "x", "y")
        bench.publish(transport, "z")

        assert transport.calls["publish"] == 2
