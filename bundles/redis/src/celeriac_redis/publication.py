"""Publishing: sealed first, then put on its queues in one step, all of a batch or none of it.

One or many messages to one list are one LPUSH, which is what kombu sends. Anything else (several lists, delays, fanout)
is one script.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from time import monotonic
from typing import Final

from msgspec import Struct, field

from celeriac.errors import StoreError, TransportLost
from celeriac.kernel.clock import Clock
from celeriac.model.message import Message
from celeriac_redis.envelope import seal
from celeriac_redis.keys import Keys
from celeriac_redis.link import Link
from celeriac_redis.routes import Route, Routes
from celeriac_redis.scripts import ANNOUNCE, PUBLISH
from celeriac_redis.wire import Argument

__all__ = ["Publisher", "Targets", "microseconds", "waiting_until"]

_ANNOUNCED_SECONDS: Final = 300.0
"""After how long the names of queues are written down again, in case somebody emptied the database."""


class Targets:
    """The lists that one script call publishes to, numbered from 1, and the messages as the scripts take them."""

    def __init__(self, keys: Keys) -> None:
        self.keys: list[bytes] = []
        self.bases: list[bytes] = []
        self.steps: list[str] = []
        self._keys = keys
        self._numbers: dict[tuple[str, str], int] = {}

    def number(self, queue: str, step: str) -> int:
        """Return the number of a list."""
        found = self._numbers.get((queue, step))
        if found is None:
            found = self._numbers[queue, step] = len(self._numbers) + 1
            self.keys.append(self._keys.waiting(queue, step))
            self.bases.append(self._keys.queue(queue).base)
            self.steps.append(step)
        return found


def microseconds(seconds: float) -> int:
    """Return a moment as scripts take it; one that they cannot count is as far away as they can."""
    return int(max(min(seconds, 8.9e9), 0.0) * 1e6)


def waiting_until(message: Message) -> Argument:
    """Return when the script is to make a message ready; '' for at once.

    A task with an ETA, of which its headers tell Celery's workers too, goes on the list, where they find it. The first
    worker of ours that comes by moves it to the delayed ones, without having it.
    """
    if message.due is None or message.headers.get("eta") is not None:
        return ""
    return microseconds(message.due)


class _Call(Struct):
    """One call of the script: its targets, and for each message target, moment when due, and the message."""

    targets: Targets
    arguments: list[Argument] = field(default_factory=list)

    def packed(self) -> list[Argument]:
        targets = self.targets
        return [len(targets.keys), *targets.bases, *targets.steps, *self.arguments]


class Publisher:
    """Publishes over one link."""

    def __init__(self, link: Link, keys: Keys, routes: Routes, clock: Clock) -> None:
        self._link = link
        self._keys = keys
        self._routes = routes
        self._clock = clock
        self._announced: dict[str, float] = {}

    def publish(self, messages: Sequence[Message], timeout: float) -> None:
        """Publish a batch.

        In a cluster that is one step for each queue. Raises: EncodeError, Unroutable: none was published.
        """
        now = self._clock.time()
        raws = [seal(message, now) for message in messages]
        first = messages[0]
        if not first.exchange and all(_alike(message, first) for message in messages):
            self._push(first, raws, timeout)
        else:
            self._publish(messages, raws, timeout)

    def _push(self, first: Message, raws: list[bytes], timeout: float) -> None:
        queue = first.routing_key
        command = (b"LPUSH", self._keys.waiting(queue, self._keys.step(first.priority)), *raws)
        if self._unannounced([queue]):
            # Behind the message: a server that takes no message must not know the queue.
            commands: list[tuple[Argument, ...]] = [command, (b"SADD", self._keys.queues, queue)]
            replies = self._link.pipeline(commands, timeout=timeout, raise_errors=False)
            if isinstance(replies[0], Exception):
                raise replies[0]
            if not isinstance(replies[1], Exception):
                self._announced[queue] = monotonic()
        else:
            self._link.run(*command, timeout=timeout)

    def _publish(self, messages: Sequence[Message], raws: list[bytes], timeout: float) -> None:
        end = monotonic() + timeout
        routes = self._routes.resolve(messages, timeout)
        calls: dict[str, _Call] = {}
        queues: set[str] = set()
        for message, raw in zip(messages, raws, strict=True):
            route = routes[message.exchange, message.routing_key] if message.exchange else Route((message.routing_key,))
            queues.update(route.queues)
            due, step = waiting_until(message), self._keys.step(message.priority)
            for queue in route.queues:
                call = self._call(calls, queue)
                call.arguments += (call.targets.number(queue, step), due, raw)
            if route.channel is not None:
                self._call(calls, route.queues[0]).arguments += (0, route.channel, raw)
        ready = [(call.targets.keys, call.packed()) for call in calls.values()]
        try:
            self._link.scripts(PUBLISH, ready, timeout=end - monotonic())
        except StoreError as error:
            if len(ready) == 1:
                raise
            raise TransportLost(f"A part of the batch may have been published: {error}") from error
        self.announce(queues, end - monotonic())

    def _call(self, calls: dict[str, _Call], queue: str) -> _Call:
        """Return the call that a queue belongs to: all to one, in a cluster each to its own."""
        name = queue if self._link.is_cluster else ""
        return calls.setdefault(name, _Call(Targets(self._keys)))

    # -- the names of queues -------------------------------------------------------------------------------

    def announce(self, queues: Collection[str], timeout: float) -> None:
        """Write down the names of queues where that was not done lately, also on a server without memory."""
        new = self._unannounced(queues)
        if new:
            self._link.script(ANNOUNCE, [self._keys.queues], [0, *new], timeout=timeout)
            self._announced.update(dict.fromkeys(new, monotonic()))

    def _unannounced(self, queues: Iterable[str]) -> list[str]:
        now = monotonic()
        return [queue for queue in queues if now - self._announced.get(queue, -1e9) > _ANNOUNCED_SECONDS]


def _alike(message: Message, first: Message) -> bool:
    return (
        waiting_until(message) == ""
        and not message.exchange
        and message.routing_key == first.routing_key
        and message.priority == first.priority
    )
