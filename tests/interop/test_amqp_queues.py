"""On one RabbitMQ, both sides declare every kind of queue alike, in either order, and delay through one ladder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import kombu
import pytest
from amqp_sides import MARKS, SECONDS, Shared, both

pytestmark = MARKS
OTHER = {"theirs": "ours", "ours": "theirs"}
PLAIN: dict[str, Any] = {"broker_native_delayed_delivery_queue_type": "classic"}
"""Quorum queues in the ladder, 28 of them, take a node of one's own seconds to make."""
LADDER: dict[str, Any] = {"task_default_queue_type": "quorum", "task_default_exchange_type": "topic", **PLAIN}


def several() -> dict[str, Any]:
    """Give queues on exchanges of every type, one of them with two bindings."""
    topic, fanout = kombu.Exchange("news", "topic"), kombu.Exchange("all", "fanout")
    two = [kombu.binding(topic, routing_key="sport.#"), kombu.binding(kombu.Exchange("plain"), routing_key="sport")]
    return {
        "task_queues": [
            kombu.Queue("celery", kombu.Exchange("celery", "direct"), routing_key="celery"),
            kombu.Queue("weather", topic, routing_key="weather.*"),
            kombu.Queue("sport", bindings=two),
            kombu.Queue("one", fanout, routing_key="one"),
            kombu.Queue("other", fanout, routing_key="other", max_priority=5, message_ttl=60.0, expires=600.0),
            kombu.Queue("lasting", kombu.Exchange("lasting"), "lasting", queue_arguments={"x-queue-type": "quorum"}),
        ]
    }


SETTINGS = {
    "default": dict,
    "priorities": lambda: {"task_queue_max_priority": 10},
    "quorum": lambda: {"task_default_queue_type": "quorum"},
    "ladder": lambda: LADDER,
    "missing": lambda: {
        "task_create_missing_queue_type": "quorum",
        "task_create_missing_queue_exchange_type": "topic",
        **PLAIN,
    },
    "several": several,
}


@contextmanager
def sides(settings: str, **more: Any) -> Iterator[Shared]:
    # Each side its own objects: kombu's are bound to a channel by who uses them.
    with both(ours={**SETTINGS[settings](), **more}, theirs={**SETTINGS[settings](), **more}) as shared:
        yield shared


@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("settings", sorted(SETTINGS))
def test_both_declare_the_same_queues_in_either_order(settings, first):
    with sides(settings) as shared, ExitStack() as stack:
        queues = ["celery", "made-when-named"]
        if settings == "several":
            queues = ["celery", "weather", "sport", "one", "other", "lasting"]
        arguments = {}
        for side in (first, OTHER[first]):
            # A worker declares what it reads.
            stack.enter_context(shared.worker_of(side, *queues))
            arguments[side] = {queue: shared.shape(queue)["arguments"] for queue in queues}
            assert shared.client(side).tasks["proj.add"].delay(1, 2).get(timeout=SECONDS) == 3
            for queue in queues[1:]:
                published = shared.client(side).tasks["proj.add"].apply_async((2, 2), queue=queue)
                if settings != "several":
                    assert published.get(timeout=SECONDS) == 4

        assert arguments["theirs"] == arguments["ours"]


@pytest.mark.parametrize("client", ["theirs", "ours"])
@pytest.mark.parametrize(
    ("exchange", "routing_key", "reached"),
    [
        ("news", "weather.north", {"weather"}),
        ("news", "sport.tennis.women", {"sport"}),
        ("plain", "sport", {"sport"}),
        ("all", "any", {"one", "other"}),
    ],
)
def test_what_is_sent_to_an_exchange_reaches_the_queues_of_the_other_side(client, exchange, routing_key, reached):
    with sides("several") as shared:
        queues = {"celery", "weather", "sport", "one", "other", "lasting"}
        with shared.worker_of(OTHER[client], *sorted(queues - {"celery"} - reached)):
            pass  # it has declared them
        with shared.worker_of(OTHER[client], *sorted(reached)):
            result = shared.client(client).tasks["proj.ran_on"].apply_async(exchange=exchange, routing_key=routing_key)

            assert result.get(timeout=SECONDS) == OTHER[client]


@pytest.mark.parametrize("client", ["theirs", "ours"])
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_a_delay_goes_through_the_ladder_of_whoever_made_it(client, first):
    with sides("ladder") as shared:
        with shared.worker_of(first):
            assert shared.client(client).tasks["proj.add"].delay(1, 1).get(timeout=SECONDS) == 2
        with shared.worker_of(OTHER[client]):
            began = time.time()
            result = shared.client(client).tasks["proj.add"].apply_async((1, 2), countdown=2)

            assert result.get(timeout=SECONDS) == 3
            # Celery's clients send the whole seconds that are left when they publish, and its workers wait no more.
            assert 0.9 < time.time() - began < 10


@pytest.mark.parametrize("client", ["theirs", "ours"])
def test_a_delay_of_a_classic_queue_comes_to_the_other_side_when_due(client):
    """Celery holds such a task in its worker; ours puts it into the ladder."""
    with sides("default", **PLAIN) as shared, shared.worker_of(OTHER[client]):
        began = time.time()
        result = shared.client(client).tasks["proj.ran_on"].apply_async(countdown=2)
        if client == "theirs":
            assert shared.client(client).tasks["proj.add"].delay(1, 1).get(timeout=SECONDS) == 2

        assert result.get(timeout=SECONDS) == OTHER[client]
        assert time.time() - began >= 1.9


def test_what_our_worker_moved_to_the_ladder_runs_on_their_worker_when_due():
    with sides("default", **PLAIN) as shared:
        began = time.time()
        result = shared.theirs.tasks["proj.ran_on"].apply_async(countdown=4)
        with shared.our_worker():
            # Behind the delayed one: when it has run, the other was taken and put aside.
            assert shared.theirs.tasks["proj.ran_on"].delay().get(timeout=SECONDS) == "ours"
        with shared.their_worker():
            assert result.get(timeout=SECONDS) == "theirs"
            assert time.time() - began >= 3.9
