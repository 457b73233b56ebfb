"""What a message looks like in RabbitMQ, and what is read of one that lies there."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("amqp")

from celeriac.errors import EncodeError
from celeriac.model.message import Message
from celeriac_amqp.frames import Incoming, Outgoing, Properties
from celeriac_amqp.messages import DELIVERIES, read, write


def arrived(sent: Outgoing, *, redelivered: bool = False, **headers: Any) -> Incoming:
    return Incoming(
        queue="q",
        exchange=sent.exchange,
        routing_key=sent.routing_key,
        redelivered=redelivered,
        properties=sent.properties,
        headers={**sent.headers, **headers},
        body=sent.body,
        tag=1,
    )


TASK = Message(
    body=b"[]",
    routing_key="q",
    headers={"task": "t", "id": "1"},
    properties={"correlation_id": "1", "reply_to": "me", "delivery_mode": 2},
    priority=4,
)


def test_a_task_message_has_the_properties_and_headers_of_celery_and_no_others() -> None:
    sent = write(TASK)

    assert (sent.exchange, sent.routing_key, sent.headers) == ("", "q", {"task": "t", "id": "1"})
    assert sent.properties == Properties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        priority=4,
        correlation_id="1",
        reply_to="me",
    )


def test_messages_are_durable_unless_they_say_otherwise() -> None:
    assert write(Message(body=b"", routing_key="q")).properties.delivery_mode == 2
    assert write(Message(body=b"", routing_key="q", properties={"delivery_mode": 1})).properties.delivery_mode == 1


@pytest.mark.parametrize(
    "message",
    [
        TASK,
        Message(body=b"x", routing_key="a.b", exchange="e", headers={"n": None}, properties={"delivery_mode": 2}),
        Message(body=b"x", routing_key="q", properties={"delivery_mode": 2, "odd": [1, None]}, expires=4e9 + 0.5),
        Message(body=b"x", routing_key="q", properties={"delivery_mode": 1, "message_id": "m", "timestamp": 7}),
    ],
)
@pytest.mark.parametrize("copy", [False, True])
def test_what_is_written_is_read_again_also_as_a_copy_elsewhere(message: Message, copy: bool) -> None:
    place = {"exchange": "", "routing_key": "celeriac.dead"} if copy else {}

    assert read(arrived(write(message, copy=copy, **place))).message == message


def test_a_copy_keeps_what_rabbitmq_would_refuse_or_act_on_in_a_header() -> None:
    message = Message(
        body=b"", routing_key="q", properties={"user_id": "someone", "expiration": "60000", "delivery_mode": 2}
    )

    sent = write(message, copy=True)

    assert (sent.properties.user_id, sent.properties.expiration) == (None, None)
    assert read(arrived(sent)).message == message


def test_our_headers_and_those_of_rabbitmq_are_not_shown() -> None:
    found = read(arrived(write(TASK), **{"x-death": [{"count": 1}], "x-first-death-queue": "a", DELIVERIES: 3}))

    assert found.message.headers == TASK.headers
    assert found.before == 3


def test_a_delayed_message_of_celery_is_read_as_one_for_its_queue() -> None:
    key = "0." * 27 + "1.celery"

    found = read(arrived(write(TASK, exchange="celery_delayed_delivery", routing_key=key, own={"x": 1})))
    foreign = Incoming(
        queue="celery",
        exchange="celery_delayed_delivery",
        routing_key=key,
        redelivered=False,
        properties=Properties(),
        headers={"task": "t"},
        body=b"",
        tag=1,
    )

    assert (found.message.exchange, found.message.routing_key) == ("", "q")
    assert (read(foreign).message.exchange, read(foreign).message.routing_key) == ("", "celery")


def test_a_quorum_queue_counts_itself_and_a_classic_one_does_not() -> None:
    sent = write(TASK, own={DELIVERIES: 2})

    assert (read(arrived(sent)).before, read(arrived(sent)).uncounted) == (2, False)
    counted = read(arrived(sent, redelivered=True, **{"x-delivery-count": 3}))
    assert (counted.before, counted.uncounted) == (5, False)
    uncounted = read(arrived(sent, redelivered=True))
    assert (uncounted.before, uncounted.uncounted) == (2, True)


def test_a_message_of_which_nothing_is_said_is_bytes() -> None:
    bare = Incoming(
        queue="q",
        exchange="",
        routing_key="q",
        redelivered=False,
        properties=Properties(),
        headers={},
        body=b"?",
        tag=1,
    )

    message = read(bare).message

    assert (message.content_type, message.content_encoding, message.priority) == ("application/data", "utf-8", 0)
    assert message.properties == {}


@pytest.mark.parametrize("headers", [{DELIVERIES: "many"}, {DELIVERIES: -1}, {"x-celeriac-properties": 1}])
def test_headers_of_ours_that_somebody_else_wrote_do_no_harm(headers: dict[str, Any]) -> None:
    assert read(arrived(write(TASK), **headers)).before == 0


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message(body=b"", routing_key="k" * 256), "255 bytes"),
        (Message(body=b"", routing_key="q", properties={"correlation_id": 7}), "'correlation_id'.*str"),
        (Message(body=b"", routing_key="q", properties={"timestamp": "now"}), "'timestamp'.*int"),
    ],
)
def test_what_cannot_be_written_is_an_error_of_that_message(message: Message, said: str) -> None:
    with pytest.raises(EncodeError, match=said):
        write(message)
