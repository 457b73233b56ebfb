"""On one RabbitMQ, Celery and Celeriac declare the same queues, and each reads what the other publishes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("celery")
pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

import celery
import kombu
from kombu.transport import native_delayed_delivery

from celeriac import Celeriac
from celeriac.model.address import Address
from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac.model.routing import Exchange, Queue
from celeriac.spi.service import Context
from celeriac_amqp.testing import server, vhost
from celeriac_amqp.transport import AmqpTransport

pytestmark = [
    pytest.mark.timeout(120),
    # Of the other side's own calls of its driver.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SECONDS = 10.0


@pytest.fixture
def url() -> Iterator[str]:
    with vhost() as url:
        yield url


def opened(url: str, **options: Any) -> AmqpTransport:
    transport = AmqpTransport(Address.parse(url), Context(options=options))
    transport.open(timeout=SECONDS)
    return transport


def take(transport: AmqpTransport, queue: str = "celery") -> Delivery:
    (delivery,) = transport.receive([queue], limit=1, timeout=SECONDS)
    return delivery


def theirs(url: str, **settings: Any) -> Any:
    app = celery.Celery("theirs", broker=url, set_as_current=False)
    app.conf.update(task_publish_retry=False, **settings)

    @app.task(name="t.add", shared=False)
    def add(*args: Any) -> None: ...

    return app


def shape(url: str, name: str) -> dict[str, Any]:
    """Return how a queue is declared and bound."""
    path = urlsplit(url).path[1:]
    queue = server().call("GET", f"queues/{path}/{name}")
    bound = server().call("GET", f"queues/{path}/{name}/bindings")
    return {
        **{key: queue[key] for key in ("durable", "auto_delete", "exclusive", "arguments")},
        "bindings": sorted((each["source"], each["routing_key"]) for each in bound),
    }


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({"task_queue_max_priority": 7}, {}),
        ({"task_default_queue_type": "quorum"}, {"queue_type": "quorum"}),
    ],
)
def test_both_declare_the_same_default_queue(settings: dict[str, Any], options: dict[str, Any]) -> None:
    with vhost() as one, vhost() as two:
        theirs(one, **settings).tasks["t.add"].delay()
        ours = {name: value for name, value in settings.items() if name != "task_default_queue_type"}
        app = Celeriac("ours", broker_url=two, broker_transport_options=options, **ours)
        transport = opened(two, **options)
        transport.declare(list(app.router.queues.values()), timeout=SECONDS)

        assert shape(two, "celery") == shape(one, "celery")
        # Each may declare what the other has declared.
        theirs(two, **settings).tasks["t.add"].delay()
        again = opened(one, **options)
        again.declare(list(app.router.queues.values()), timeout=SECONDS)
        for each in (transport, again, app):
            each.close()


def test_what_celery_publishes_is_read(url: str) -> None:
    headers = {"none": None, "list": [1, {"a": 2.5}], "deep": {"x": {"y": None}}, "truth": True, "big": 2**40}
    sent = theirs(url).tasks["t.add"].apply_async((1, "ü"), priority=3, headers=headers, expires=3600)
    transport = opened(url)

    message = take(transport).message

    assert (message.exchange, message.routing_key, message.priority) == ("", "celery", 3)
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.properties["correlation_id"] == message.headers["id"] == sent.id
    assert {name: message.headers[name] for name in headers} == headers
    assert message.headers["eta"] is None
    transport.close()


@pytest.mark.parametrize("delay", [None, 1])
def test_what_we_publish_is_read_by_kombu(url: str, delay: int | None) -> None:
    app = Celeriac(
        "ours",
        broker_url=url,
        broker_transport_options={"native_delayed_delivery_queue_type": "classic"},
        result_backend=None,
    )

    @app.task(name="t.mul", shared=False)
    def mul(x: int, y: str) -> None: ...

    with app:
        sent = mul.apply_async((2, "ü"), countdown=delay, priority=5)

        with kombu.Connection(url) as connection:
            message = connection.SimpleQueue("celery").get(timeout=SECONDS)

    assert message.payload == [[2, "ü"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    assert (message.headers["id"], message.headers["task"]) == (sent.id, "t.mul")
    assert message.headers["timelimit"] == [None, None]
    assert message.properties["correlation_id"] == sent.id
    assert (message.properties["delivery_mode"], message.properties["priority"]) == (2, 5)


def test_what_we_hand_back_is_read_by_kombu_as_it_was(url: str) -> None:
    theirs(url).tasks["t.add"].apply_async((1,), headers={"mine": [1]})
    transport = opened(url)
    delivery = take(transport)
    transport.settle([Verdict(delivery=delivery, action=Action.RELEASE)], timeout=SECONDS)
    transport.close()

    with kombu.Connection(url) as connection:
        message = connection.SimpleQueue("celery").get(timeout=SECONDS)

    assert {name: value for name, value in message.headers.items() if not name.startswith("x-celeriac-")} == (
        delivery.message.headers
    )
    assert message.body.encode() == delivery.message.body


@pytest.mark.parametrize("declared_by", ["us", "kombu"])
def test_what_celery_delays_in_the_ladder_comes_to_us_once(url: str, declared_by: str) -> None:
    """Celery's clients publish so to quorum queues of topic exchanges; its workers, or ours, make the ladder."""
    transport = opened(url, queue_type="quorum", native_delayed_delivery_queue_type="classic")
    exchange = Exchange("celery", "topic")
    transport.declare([Queue("celery", exchange, "celery")], timeout=SECONDS)
    if declared_by == "kombu":
        with kombu.Connection(url) as connection:
            native_delayed_delivery.declare_native_delayed_delivery_exchanges_and_queues(connection, "classic")
            native_delayed_delivery.bind_queue_to_native_delayed_delivery_exchange(
                connection, kombu.Queue("celery", kombu.Exchange("celery", "topic"), routing_key="celery")
            )
    before = time.time()
    app = theirs(url, task_default_queue_type="quorum", task_default_exchange_type="topic")

    sent = app.tasks["t.add"].apply_async((1,), countdown=1)

    delivery = take(transport)
    assert delivery.message.headers["id"] == sent.id
    assert time.time() - before >= 1.0
    assert "x-death" not in delivery.message.headers
    assert transport.receive(["celery"], limit=1, timeout=0.3) == []
    transport.close()
