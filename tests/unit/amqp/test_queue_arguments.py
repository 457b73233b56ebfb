"""With what arguments queues are declared, and how long a delay takes through the ladder."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("amqp")

from celeriac.model.routing import Queue
from celeriac_amqp.delays import LONGEST_SECONDS, delay_key, without_delay
from celeriac_amqp.topology import queue_arguments


@pytest.mark.parametrize(
    ("queue", "queue_type", "max_priority", "arguments"),
    [
        (Queue("q"), "classic", 0, {}),
        (Queue("q"), "quorum", 0, {"x-queue-type": "quorum"}),
        (Queue("q"), "classic", 9, {"x-max-priority": 9}),
        (Queue("q"), "quorum", 9, {"x-queue-type": "quorum"}),
        (Queue("q", max_priority=5), "classic", 9, {"x-max-priority": 5}),
        (Queue("q", max_priority=5), "quorum", 0, {"x-max-priority": 5}),
        (Queue("q", exclusive=True), "quorum", 0, {}),
        (Queue("q", auto_delete=True), "quorum", 0, {}),
        (Queue("q", durable=False), "quorum", 0, {}),
        (Queue("q", arguments={"x-queue-type": "classic"}), "quorum", 0, {"x-queue-type": "classic"}),
        (
            Queue("q", message_ttl_seconds=1.5, expires_seconds=60),
            "classic",
            0,
            {"x-message-ttl": 1500, "x-expires": 60000},
        ),
        (Queue("q", max_priority=5, arguments={"x-max-priority": 7}), "classic", 0, {"x-max-priority": 7}),
    ],
)
def test_a_queue_has_the_arguments_that_celery_would_give_it(
    queue: Queue, queue_type: str, max_priority: int, arguments: dict[str, Any]
) -> None:
    assert queue_arguments(queue, queue_type=queue_type, max_priority=max_priority) == arguments


@pytest.mark.parametrize(
    ("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.001, 2), (86400, 86400), (1e12, LONGEST_SECONDS)]
)
def test_a_delay_is_written_in_28_binary_digits_rounded_up(seconds: float, whole: int) -> None:
    key = delay_key(seconds, "a.b")

    assert int(key.removesuffix(".a.b").replace(".", ""), 2) == whole
    assert key.count(".") == 28 + 1
    assert without_delay(key) == "a.b"


def test_a_key_without_a_delay_stays_as_it_is() -> None:
    assert without_delay("1.0.celery") == "1.0.celery"
