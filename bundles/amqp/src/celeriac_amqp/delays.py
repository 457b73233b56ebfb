"""Delays: a ladder of queues through which a message falls, one for each binary digit of the delay in seconds.

1. A delayed message is published to the exchange of the highest level, with a routing key that begins with the 28
   digits of its delay.
2. At each level, the digit that belongs to it says whether the message waits in the queue of the level, whose time to
   live is 2**level seconds, or goes on to the next lower level at once.
3. After the last level, the exchange `celery_delayed_delivery` gives it to the queue that is named behind the digits.

Names and arguments are those of Celery 5.5 and later, so that its programs use the same ladder.

Source: kombu 5.5, `kombu/transport/native_delayed_delivery.py`.
"""

from __future__ import annotations

import math
import re
from time import monotonic
from typing import Any, Final

from celeriac_amqp.asking import Asking

__all__ = ["DELIVERY_EXCHANGE", "ENTRY_EXCHANGE", "LONGEST_SECONDS", "Ladder", "delay_key", "without_delay"]

_LEVELS: Final = 28
LONGEST_SECONDS: Final = 2**_LEVELS - 1
"""Eight and a half years. Who gets a message too early puts it back with the delay that is left."""
DELIVERY_EXCHANGE: Final = "celery_delayed_delivery"
ENTRY_EXCHANGE: Final = f"celery_delayed_{_LEVELS - 1}"

_DIGITS: Final = re.compile(rf"(?:[01]\.){{{_LEVELS}}}")


def delay_key(seconds: float, name: str) -> str:
    """Return the routing key for the ladder; a delay is rounded up to a whole second."""
    whole = min(max(math.ceil(seconds), 1), LONGEST_SECONDS)
    return ".".join(format(whole, f"0{_LEVELS}b")) + "." + name


def without_delay(routing_key: str) -> str:
    """Return what stands behind the digits of a routing key."""
    return _DIGITS.sub("", routing_key, count=1)


class Ladder:
    """Makes the ladder when it is first needed, and binds queues to its end."""

    def __init__(self, asking: Asking, queue_type: str) -> None:
        self._asking = asking
        self._queue_type = queue_type
        self._made = False
        self.made_at: float = -math.inf
        """When it was declared last, on the clock of `time.monotonic`."""
        self._bound: set[tuple[str, str]] = set()

    def make(self, timeout: float) -> None:
        """Declare the exchanges and queues of all levels, unless that was done over this connection.

        A level that exists with another type of queue is used as it is.
        """
        if not self._made:
            self._asking.each(self._steps(), timeout)
            self._made, self.made_at = True, monotonic()

    def forget(self) -> None:
        """Declare everything again at the next occasion: somebody deleted a part of it."""
        self._made = False
        self._bound.clear()

    def bind(self, queue: str, key: str, timeout: float) -> None:
        """Let the end of the ladder give to a queue what is for `key`, which may be a topic pattern.

        The pattern says how many digits come first. Celery's own, `#.key`, also fits keys that only end in that.
        """
        if (queue, key) not in self._bound:
            arguments = {"exchange": DELIVERY_EXCHANGE, "routing_key": "*." * _LEVELS + key}
            self._asking.each([("queue_bind", {"queue": queue, **arguments})], timeout)
            self._bound.add((queue, key))

    def _steps(self) -> list[tuple[str, dict[str, Any]]]:
        steps: list[tuple[str, dict[str, Any]]] = [("exchange_declare", _topic(DELIVERY_EXCHANGE))]
        below = DELIVERY_EXCHANGE
        # From the bottom: what enters at the top finds all of it.
        for level in range(_LEVELS):
            name, before = f"celery_delayed_{level}", "*." * (_LEVELS - 1 - level)
            arguments: dict[str, Any] = {
                "x-queue-type": self._queue_type,
                "x-overflow": "reject-publish",
                "x-message-ttl": 2**level * 1000,
                "x-dead-letter-exchange": below,
            }
            if self._queue_type == "quorum":
                arguments["x-dead-letter-strategy"] = "at-least-once"
            steps += [
                ("exchange_declare", _topic(name)),
                ("queue_declare", {"queue": name, "durable": True, "auto_delete": False, "arguments": arguments}),
                ("queue_bind", {"queue": name, "exchange": name, "routing_key": before + "1.#"}),
                ("exchange_bind", {"destination": below, "source": name, "routing_key": before + "0.#"}),
            ]
            below = name
        return steps


def _topic(name: str) -> dict[str, Any]:
    return {"exchange": name, "type": "topic", "durable": True, "auto_delete": False}
