"""Follow-ups that a settlement takes instead of putting them on their lists."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from celeriac.errors import TransportLost
from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac_redis.coordinator import RedisCoordinator
from celeriac_redis.transport import RedisTransport

SECONDS = 10.0


def message(text: str, queue: str = "q", **fields: object) -> Message:
    return Message(body=text.encode(), routing_key=queue, **fields)  # type: ignore[arg-type]


def texts(deliveries):
    return [delivery.message.body.decode() for delivery in deliveries]


@pytest.fixture
def coordinator(opened, url):
    return opened(RedisCoordinator, url)


@pytest.fixture
def make(opened, url, coordinator):
    def make(holder: str = "a") -> RedisTransport:
        transport = opened(RedisTransport, url, holder=holder)
        assert transport.checks_with(coordinator, "revoked")
        return transport

    return make


@pytest.fixture
def transport(make):
    return make()


def take(transport, limit=100, queues=("q",)):
    return transport.receive(queues, limit=limit, timeout=0.0)


def held(transport, queue="q"):
    """Publish one message and take it."""
    transport.publish([message("first", queue)], timeout=SECONDS)
    (delivery,) = take(transport, queues=(queue,))
    return delivery


def settled(transport, delivery, *followups, queues=("q",), limit=10):
    verdict = Verdict(delivery=delivery, followups=tuple(followups))
    refused, taken = transport.settle_and_take([verdict], queues, limit=limit, timeout=SECONDS)
    assert refused == []
    return taken


def test_the_next_step_is_taken_as_the_one_before_is_settled_and_lies_on_no_list(transport, link):
    (taken,) = settled(transport, held(transport), message("next"))

    assert texts([taken]) == ["next"]
    assert link.run("EXISTS", "q", timeout=SECONDS) == 0
    assert take(transport) == []
    assert transport.settle([Verdict(delivery=taken)], timeout=SECONDS) == []


def test_what_is_taken_so_is_what_receive_would_have_brought(transport, make):
    sent = message(
        "next",
        headers={"id": "1", "retries": 0},
        properties={"correlation_id": "1", "reply_to": "r", "delivery_mode": 2},
        priority=3,
        expires=9e9,
    )

    (taken,) = settled(transport, held(transport), sent)
    transport.publish([sent], timeout=SECONDS)
    (received,) = take(transport)

    assert replace(taken, tag="") == replace(received, tag="")
    assert taken.tag[20:22] == received.tag[20:22]  # the step, by which it finds its way back


def test_a_chain_goes_on_without_a_message_on_a_list(transport, link):
    delivery = held(transport)

    for number in range(5):
        (delivery,) = settled(transport, delivery, message(str(number)))

    assert texts([delivery]) == ["4"]
    assert link.run("HLEN", "celeriac:{q}:held:a", timeout=SECONDS) == 1
    assert settled(transport, delivery) == []
    assert link.run("EXISTS", "celeriac:{q}:leases", "celeriac:{q}:held:a", timeout=SECONDS) == 0


def test_no_more_are_taken_than_asked_for_and_the_rest_waits_in_order(transport):
    taken = settled(transport, held(transport), *map(message, "abc"), limit=1)

    assert texts(taken) == ["a"]
    assert texts(take(transport)) == ["b", "c"]


def test_what_goes_elsewhere_or_is_due_later_is_not_taken(transport, make):
    elsewhere, later = message("elsewhere", "other"), message("later", due=9e9)

    taken = settled(transport, held(transport), elsewhere, later)

    assert taken == []
    assert texts(take(make("b"), queues=("other",))) == ["elsewhere"]
    assert transport.depths(["q"], timeout=SECONDS)[0].delayed == 1


def test_nothing_is_taken_while_anything_waits_on_any_queue_of_the_worker(transport):
    delivery = held(transport)
    transport.publish([message("urgent", "before")], timeout=SECONDS)

    taken = settled(transport, delivery, message("next"), queues=("before", "q"))

    assert taken == []
    assert texts(take(transport, queues=("before", "q"))) == ["urgent", "next"]


def test_a_queue_that_was_never_taken_from_is_not_begun_with(transport):
    taken = settled(transport, held(transport), message("next", "new"), queues=("q", "new"))

    assert taken == []
    assert texts(take(transport, queues=("q", "new"))) == ["next"]


def test_a_step_on_another_queue_of_the_worker_is_taken_too(transport):
    transport.settle([Verdict(delivery=held(transport, "other"))], timeout=SECONDS)

    (taken,) = settled(transport, held(transport), message("next", "other"), queues=("q", "other"))

    assert taken.queue == "other"
    assert transport.settle([Verdict(delivery=taken)], timeout=SECONDS) == []


def test_nothing_is_taken_while_something_is_revoked(transport, coordinator):
    delivery = held(transport)
    coordinator.remember("revoked", ["some id"], ttl=60.0, timeout=SECONDS)

    assert settled(transport, delivery, message("next")) == []
    assert texts(take(transport)) == ["next"]


def test_nothing_is_taken_where_nobody_would_know_of_revocations(opened, url):
    transport = opened(RedisTransport, url, holder="a")

    assert settled(transport, held(transport), message("next")) == []
    assert texts(take(transport)) == ["next"]


def test_a_connection_that_another_has_replaced_takes_nothing_but_settles(transport, make):
    delivery = held(transport)
    newer = make()
    newer.receive(["q"], limit=1, timeout=0.0)
    newer.retain([delivery], timeout=SECONDS)

    assert settled(transport, delivery, message("next")) == []
    assert texts(take(newer)) == ["next"]
    with pytest.raises(TransportLost):
        take(transport)


def test_what_an_answer_that_was_lost_had_taken_is_handed_back_by_the_next_connection(transport, make):
    settled(transport, held(transport), message("next"))
    newer = make()

    assert newer.retain([], timeout=SECONDS) == 1

    (again,) = take(newer)
    assert (texts([again]), again.deliveries) == (["next"], 1)
