"""Each test of publishing and receiving fails a transport that is broken in just that way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.errors import QueueNotFound
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.spi.transport import TransportCapabilities
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.publishing import Publishing, Receiving
from celeriac_memory.store import MemoryStore
from celeriac_memory.transport import MemoryTransport

replace = msgspec.structs.replace


class Changing(MemoryTransport):
    """Publishes something else than it was given."""

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        super()._publish([self.changed(message) for message in messages], timeout)

    def changed(self, message: Message) -> Message:
        raise NotImplementedError


class LosesProperties(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, properties={})


class LosesBinaryBodies(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, body=message.body.replace(b"\x00", b""))


class TruncatesQueueNames(Changing):
    def changed(self, message: Message) -> Message:
        return replace(message, routing_key=message.routing_key.rstrip("2"))


class HasOneQueue(MemoryTransport):
    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        super()._publish([replace(message, routing_key="the one") for message in messages], timeout)

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super()._receive(["the one"], limit, timeout)


class DelaysThePast(Changing):
    def changed(self, message: Message) -> Message:
        return message if message.due is None else replace(message, due=self.clock.time() + 60)


class KeepsMessagesToItself(MemoryTransport):
    def _open(self, timeout: float) -> None:
        super()._open(timeout)
        self._store = MemoryStore()
        self._broker = self._store.broker


class LosesOneInTen(MemoryTransport):
    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        super()._publish([message for number, message in enumerate(messages) if number % 10 != 9], timeout)


class Reorders(MemoryTransport):
    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        super()._publish(messages[::-1], timeout)


class PublishesGhosts(MemoryTransport):
    def publish(self, messages: Sequence[Message], *, timeout: float) -> None:  # type: ignore[misc]
        super().publish(messages or [Message(body=b"ghost", routing_key="q")], timeout=timeout)


class ForgetsWhenClosed(MemoryTransport):
    def _close(self) -> None:
        super()._close()
        for depth in self._broker.depths(None, 0.0, 0.0):
            self._broker.purge(depth.queue)


class DeclaresLess(MemoryTransport):
    capabilities = TransportCapabilities(leases=True)


class IgnoresTheLimit(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super()._receive(queues, 1000, timeout)


class DeliversTwice(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        taken = super()._receive(queues, limit, timeout)
        self._publish([delivery.message for delivery in taken if delivery.deliveries == 1], timeout)
        return taken


class TakesQueuesInReverse(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super()._receive(queues[::-1], limit, timeout)


class WantsQueuesToExist(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        known = {depth.queue for depth in self._broker.depths(None, 0.0, 0.0)}
        for queue in queues:
            if queue not in known:
                raise QueueNotFound(queue)
        return super()._receive(queues, limit, timeout)


class NeverTimesOut(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super()._receive(queues, limit, timeout * 1e6)


class Unheard(MemoryTransport):
    """Does not tell who is blocked that something has come."""

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        self._broker.publish(messages, self.clock.time())

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        now, tick = self.clock.time(), self.clock.monotonic()
        return self._broker.settle(self.context.holder, verdicts, now=now, tick=tick)[1]

    def _close(self) -> None:
        self._open_now = False


class CannotBeWoken(MemoryTransport):
    def _wake(self) -> None:
        pass


class ForgetsToWakeTheNext(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        self._woken = False
        return super()._receive(queues, limit, timeout)


class StaysAwake(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        woken = self._woken
        taken = super()._receive(queues, limit, timeout)
        self._woken = woken
        return taken


class LosesWhatItHadWhenWoken(MemoryTransport):
    def _wake(self) -> None:
        super()._wake()
        self._broker.purge("q")


class WakesEverybody(MemoryTransport):
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._store.lock:
            self.clock.wait(self._store.arrivals, timeout)
        return super()._receive(queues, limit, 0.0)


class ClosesOnce(MemoryTransport):
    def _close(self) -> None:
        if not self._open_now:
            raise RuntimeError("already closed")
        super()._close()


class WorksWhenClosed(MemoryTransport):
    def _check_open(self) -> None:
        pass


class CountsNothing(MemoryTransport):
    def publish(self, messages: Sequence[Message], *, timeout: float) -> None:  # type: ignore[misc]
        self._publish(messages, timeout)


DEFECTS: dict[str, list[type[MemoryTransport]]] = {
    "a_message_arrives_as_it_was_published": [LosesProperties],
    "a_body_may_have_any_size": [LosesBinaryBodies],
    "a_queue_may_have_any_name": [TruncatesQueueNames, HasOneQueue],
    "every_connection_sees_what_another_published": [KeepsMessagesToItself],
    "messages_come_in_the_order_they_were_published": [Reorders, LosesOneInTen],
    "publishing_nothing_does_nothing": [PublishesGhosts],
    "a_message_reaches_its_own_queue_only": [HasOneQueue],
    "what_was_accepted_outlives_the_connection": [ForgetsWhenClosed, KeepsMessagesToItself],
    "a_due_moment_in_the_past_is_now": [DelaysThePast],
    "capabilities_and_interfaces_agree": [DeclaresLess],
    "no_more_than_the_limit_is_taken": [IgnoresTheLimit],
    "a_message_is_given_to_one_holder_only": [DeliversTwice],
    "an_earlier_queue_wins": [TakesQueuesInReverse],
    "a_queue_that_does_not_exist_is_empty": [WantsQueuesToExist],
    "receiving_ends_after_its_timeout": [NeverTimesOut],
    "a_blocked_receiver_gets_what_another_publishes": [Unheard],
    "a_blocked_receiver_gets_what_another_hands_back": [Unheard],
    "waking_ends_a_blocked_receive": [CannotBeWoken],
    "waking_when_nothing_is_blocked_ends_the_next_receive": [ForgetsToWakeTheNext, CannotBeWoken],
    "waking_loses_no_message_and_lasts_for_one_receive": [StaysAwake, LosesWhatItHadWhenWoken],
    "waking_one_connection_leaves_another_blocked": [WakesEverybody],
    "closing_twice_or_before_opening_does_nothing": [ClosesOnce],
    "closing_ends_a_blocked_receive": [Unheard],
    "a_closed_connection_says_so": [WorksWhenClosed],
    "calls_are_counted": [CountsNothing],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_body_may_have_any_size": {"size": 1_000_000},
    "a_queue_may_have_any_name": {"name": "A"},
}


class Suite(Publishing, Receiving):
    __test__ = False


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[MemoryTransport]) -> None:
    assert_fails(Suite, promise, TransportBench(MemoryModule(broken)), PARAMETERS.get(promise, {}))


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted(DEFECTS) == promises_of(Suite)
