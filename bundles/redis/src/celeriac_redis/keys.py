"""Every key of the transport is built here.

What waits, bindings and channels are named as kombu names them, so that Celery's producers and workers share the
queues. What Celeriac alone knows begins with `celeriac:`; the name of the queue stands in braces there, Redis Cluster's
hash tag, so that all keys of one queue share a slot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from celeriac.errors import InvalidSetting

__all__ = ["SEPARATOR", "Keys", "QueueKeys", "read_steps"]

SEPARATOR: Final = "\x06\x16"
"""What kombu puts between the parts of a name."""

_TOP: Final = 9


class QueueKeys:
    """The keys of one queue.

    Attributes:
        name: The queue.
        main: The list of step 0, and what scripts build the other lists' names from.
        base: What the queue's own keys begin with. Scripts add `leases`, `held:<holder>`, `lease:<holder>`, `delayed`,
            `dead` and `parked`.
        alarm: Written when the first delayed message changes, so that who sleeps until it is due wakes up.
        lists: One list per priority step, the first to be served first.
        watched: The lists and the alarm, which is what an idle worker watches.
    """

    __slots__ = ("alarm", "base", "lists", "main", "name", "watched")

    def __init__(self, name: str, main: str, base: str, steps: str) -> None:
        self.name: str = name
        self.main: bytes = main.encode()
        self.base: bytes = base.encode()
        self.alarm: bytes = (base + "alarm").encode()
        self.lists: tuple[bytes, ...] = tuple((main + _suffix(step)).encode() for step in steps)
        self.watched: tuple[bytes, ...] = (*self.lists, self.alarm)


class Keys:
    """The keys of one store, seen with these settings.

    Args:
        prefix: What every key begins with.
        steps: The digits of the priority steps, the first to be served first.
        cluster: Whether the lists of a queue need a hash tag too; kombu knows no cluster, so nobody else reads them.
        database: The number of the database, which is part of the channels' names.
    """

    def __init__(self, *, prefix: str = "", steps: str = "9630", cluster: bool = False, database: int = 0) -> None:
        self.steps = steps
        self.queues: bytes = f"{prefix}celeriac:queues".encode()
        self.exchanges: bytes = f"{prefix}celeriac:exchanges".encode()
        self._prefix = prefix
        self._cluster = cluster
        self._channels = f"/{database}."
        rising = sorted(map(int, steps))
        self._step: tuple[str, ...] = tuple(
            str(max(step for step in rising if step <= priority)) for priority in range(_TOP + 1)
        )
        self.lists: str = "".join(self._step) + prefix
        """How a script finds the list of a queue and a priority: the steps of the ten priorities, then the prefix."""
        self.queue: Callable[[str], QueueKeys] = lru_cache(maxsize=1024)(self._queue)

    def _queue(self, name: str) -> QueueKeys:
        main = f"{{{name}}}" if self._cluster else name
        return QueueKeys(name, self._prefix + main, f"{self._prefix}celeriac:{{{name}}}:", self.steps)

    def step(self, priority: int) -> str:
        """Return the step that a priority belongs to, as a digit: the greatest that is not above it."""
        return self._step[min(max(priority, 0), _TOP)]

    def waiting(self, queue: str, step: str) -> bytes:
        """Return the list of one step."""
        return self.queue(queue).lists[self.steps.index(step)]

    def holder(self, holder: str) -> bytes:
        """Return the set of the queues that a holder takes from."""
        return f"{self._prefix}celeriac:holder:{holder}".encode()

    def answer(self, slot: str, queue: str | None) -> bytes:
        """Return where the answer to the last settlement of one slot is remembered, beside a queue where it must be."""
        if self._cluster and queue is not None:
            return self.queue(queue).base + f"settled:{slot}".encode()
        return f"{self._prefix}celeriac:settled:{slot}".encode()

    def bindings(self, exchange: str) -> bytes:
        """Return kombu's set of the bindings of an exchange."""
        return f"{self._prefix}_kombu.binding.{exchange}".encode()

    def permanent(self, exchange: str) -> bytes:
        """Return kombu's set of the bindings that its sweep must not remove."""
        return f"{self._prefix}_kombu.binding_permanent.{exchange}".encode()

    def fanout(self, exchange: str) -> bytes:
        """Return the set of the queues that get a copy of what is sent to a fanout exchange."""
        return f"{self._prefix}celeriac:fanout:{exchange}".encode()

    def channel(self, exchange: str, routing_key: str) -> bytes:
        """Return the channel on which Celery's subscribers hear a fanout exchange."""
        name = f"{self._prefix}{self._channels}{exchange}"
        return (f"{name}/{routing_key}" if routing_key else name).encode()


def _suffix(step: str) -> str:
    return "" if step == "0" else SEPARATOR + step


def read_steps(text: str, *, lowest_first: bool) -> str:
    """Read the option `priority_steps`; return the digits in the order in which they are served.

    Raises: InvalidSetting: it is no list of different numbers from 0 to 9 that has a 0.
    """
    steps = [part.strip() for part in text.split(",")]
    if len(set(steps)) < len(steps) or "0" not in steps or not all(len(s) == 1 and s in "0123456789" for s in steps):
        raise InvalidSetting("priority_steps", text, "different numbers from 0 to 9 with commas between, 0 among them")
    return "".join(sorted(steps, reverse=not lowest_first))
