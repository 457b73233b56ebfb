"""Each test of routing and commits fails a transport that is broken in just that way."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.errors import ConfigurationError, Unroutable
from celeriac.model.join import Part
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import ResultRecord
from celeriac.model.routing import Exchange, Queue
from celeriac.spi.results import ResultStore
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac.testing.contracts.transports.committing import Committing
from celeriac.testing.contracts.transports.routing import Routing
from celeriac_memory.broker import Broker
from celeriac_memory.joins import Joins
from celeriac_memory.routes import Routes
from celeriac_memory.transport import MemoryTransport

replace = msgspec.structs.replace


class SettlesWithoutALook(MemoryTransport):
    """Notices that leases have lapsed only when somebody receives."""

    class its_broker(Broker):  # noqa: N801  read as an attribute
        def settle(self, holder: str, verdicts: Sequence[Verdict], *, joins: Joins, now: float, tick: float) -> Any:
            return super().settle(holder, verdicts, joins=joins, now=now, tick=-math.inf)


class WithRoutes(MemoryTransport):
    """Finds queues in another way."""

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        self._broker._routes.__class__ = self.Way
        super()._publish(messages, timeout)

    class Way(Routes):
        pass


class WantsAnExchange(WithRoutes):
    class Way(Routes):
        def reached_by(self, message: Message) -> list[str]:
            if not message.exchange and message.routing_key in self.queues:
                raise Unroutable(message.exchange, message.routing_key)
            return super().reached_by(message)


class TakesEveryExchangeForOneOf(WithRoutes):
    type: Any = "direct"

    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        changed = [
            replace(queue, exchange=queue.exchange and Exchange(queue.exchange.name, self.type)) for queue in queues
        ]
        super().declare(changed, timeout=timeout)


class FanoutOnly(TakesEveryExchangeForOneOf):
    type = "fanout"


class CopiesPerBinding(WithRoutes):
    class Way(Routes):
        def reached_by(self, message: Message) -> list[str]:
            found = super().reached_by(message)
            return [name for name, _ in self._bindings[message.exchange] for one in found if one == name]


class SettlesEveryCopy(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        self._broker.purge("two")
        return super()._settle(verdicts, timeout)


class ForgetsTheExchange(MemoryTransport):
    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        for message in messages:
            for name in self._broker._routes.reached_by(message):
                super()._publish([replace(message, exchange="", routing_key=name)], timeout)


class PublishesPartOfABatch(MemoryTransport):
    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        for message in messages:
            super()._publish([message], timeout)


class DropsWhatReachesNoQueue(WithRoutes):
    class Way(Routes):
        def reached_by(self, message: Message) -> list[str]:
            try:
                return super().reached_by(message)
            except Unroutable:
                return []


class ForgetsDeclarations(MemoryTransport):
    def _open(self, timeout: float) -> None:
        super()._open(timeout)
        self._broker._routes = Routes()


class EmptiesWhatIsDeclaredAgain(MemoryTransport):
    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        super().declare(queues, timeout=timeout)
        for queue in queues:
            self._broker.purge(queue.name)


class RefusesWhatPublishingCreated(MemoryTransport):
    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        for queue in queues:
            if queue.name in self._broker._queues:
                raise RuntimeError("exists")
        super().declare(queues, timeout=timeout)


class ChangesExchanges(MemoryTransport):
    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        try:
            super().declare(queues, timeout=timeout)
        except ConfigurationError:
            self._broker._routes = Routes()


class CommitsWithAnything(MemoryTransport):
    def commits_with(self, results: ResultStore) -> bool:
        return True


class ChangesVerdicts(MemoryTransport):
    """Carries out something else than it was told."""

    def changed(self, verdict: Verdict) -> Verdict:
        raise NotImplementedError

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        changed = [self.changed(verdict) for verdict in verdicts]
        refused = super()._settle(changed, timeout)
        return [
            verdict for verdict, one in zip(verdicts, changed, strict=True) if any(one is found for found in refused)
        ]


class ForgetsFollowups(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, followups=())


class ForgetsRecords(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, records=())


class KeepsOneRecord(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, records=verdict.records[:1])


class CommitsOnlyWithAcks(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return verdict if verdict.action is Action.ACK else replace(verdict, records=(), followups=())


class SkipsVerdictsWithoutADelivery(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return super()._settle([verdict for verdict in verdicts if verdict.delivery is not None], timeout)


class CommitsWhatIsRefused(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        refused = super()._settle(verdicts, timeout)
        super()._settle([replace(verdict, delivery=None) for verdict in refused], timeout)
        return refused


class SendsFollowupsAtOnce(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, followups=tuple(replace(message, due=None) for message in verdict.followups))


class CommitsSilently(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        now, tick = self.clock.time(), self.clock.monotonic()
        joins = self._store.joins
        return self._broker.settle(self.context.holder, verdicts, joins=joins, now=now, tick=tick)[1]


class OverwritesRecords(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        self._store.records.delete([record.id for verdict in verdicts for record in verdict.records], 0.0)
        return super()._settle(verdicts, timeout)


class PublishesBeforeItRecords(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        refused = super()._settle([replace(verdict, records=()) for verdict in verdicts], timeout)
        threading.Event().wait(0.02)
        records: list[ResultRecord] = [record for verdict in verdicts for record in verdict.records]
        self._store.records.put(records, self.clock.monotonic())
        return refused


class PublishesAgain(MemoryTransport):
    class its_joins(Joins):  # noqa: N801  the name that the harness looks for
        def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
            return super().give(parts, tick, once=False)


class NeverPublishes(MemoryTransport):
    class its_joins(Joins):  # noqa: N801  as above
        def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
            super().give(parts, tick, once=once)
            return []


class OpensJoinsWhateverBecomesOfTheVerdict(MemoryTransport):
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        for verdict in verdicts:
            super()._settle([Verdict(delivery=None, joins=verdict.joins, parts=verdict.parts)], timeout)
        return super()._settle(verdicts, timeout)


class ForgetsToClose(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, closes=())


class ForgetsToGrow(ChangesVerdicts):
    def changed(self, verdict: Verdict) -> Verdict:
        return replace(verdict, grows=())


DEFECTS: dict[str, list[type[MemoryTransport]]] = {
    "the_last_part_publishes_the_message_of_its_join_once": [PublishesAgain, NeverPublishes],
    "parts_of_one_batch_complete_a_join_opened_in_it": [NeverPublishes],
    "a_join_grows_before_the_part_that_comes_with_it_is_counted": [ForgetsToGrow],
    "a_refused_verdict_gives_no_part_and_opens_no_join": [OpensJoinsWhateverBecomesOfTheVerdict],
    "what_the_parts_were_is_read_and_closed_in_the_result_store": [ForgetsToClose],
    "a_declared_queue_without_an_exchange_is_reached_by_its_name": [WantsAnExchange],
    "a_queue_bound_to_an_exchange_is_still_reached_by_its_name": [WantsAnExchange],
    "a_direct_exchange_takes_the_routing_key_as_it_is": [FanoutOnly],
    "a_topic_exchange_matches_words": [TakesEveryExchangeForOneOf, FanoutOnly],
    "a_fanout_exchange_reaches_every_queue_whatever_the_key": [TakesEveryExchangeForOneOf],
    "a_queue_gets_one_copy_however_many_of_its_bindings_match": [CopiesPerBinding],
    "the_copies_of_one_message_are_settled_one_by_one": [SettlesEveryCopy],
    "the_message_keeps_its_exchange_and_routing_key": [ForgetsTheExchange],
    "what_reaches_no_queue_is_unroutable_and_none_of_its_batch_is_published": [
        PublishesPartOfABatch,
        DropsWhatReachesNoQueue,
    ],
    "another_connection_knows_what_was_declared": [ForgetsDeclarations],
    "declaring_again_changes_nothing": [EmptiesWhatIsDeclaredAgain],
    "a_queue_that_publishing_created_may_be_declared": [RefusesWhatPublishingCreated],
    "an_exchange_cannot_change_its_type": [ChangesExchanges],
    "the_store_of_the_same_address_commits_with_it_and_another_does_not": [CommitsWithAnything],
    "a_verdict_brings_its_record_and_follow_ups": [ForgetsRecords, ForgetsFollowups],
    "a_verdict_may_bring_several_records": [KeepsOneRecord],
    "a_refused_verdict_brings_nothing": [CommitsWhatIsRefused],
    "a_verdict_after_the_lease_lapsed_brings_nothing": [CommitsWhatIsRefused, SettlesWithoutALook],
    "a_verdict_without_a_delivery_brings_its_record_and_follow_ups": [SkipsVerdictsWithoutADelivery],
    "every_action_brings_them": [CommitsOnlyWithAcks],
    "a_follow_up_may_be_delayed": [SendsFollowupsAtOnce],
    "a_blocked_receiver_gets_a_follow_up": [CommitsSilently, ForgetsFollowups],
    "a_settled_record_obeys_the_rules_of_the_result_store": [OverwritesRecords],
    "a_settled_record_is_announced": [CommitsSilently],
    "who_sees_a_follow_up_sees_the_record": [PublishesBeforeItRecords],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_topic_exchange_matches_words": {"key": "eu.hot", "reached": {"hash", "all"}},
    "what_reaches_no_queue_is_unroutable_and_none_of_its_batch_is_published": {"name": None},
    "every_action_brings_them": {"action": Action.PARK},
}


class Suite(Routing, Committing):
    __test__ = False


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_transport_fails(promise: str, broken: type[MemoryTransport]) -> None:
    assert_fails(Suite, promise, TransportBench(MemoryModule(broken)), PARAMETERS.get(promise, {}))


def test_every_test_is_shown_to_fail_some_transport() -> None:
    assert sorted(DEFECTS) == promises_of(Suite)
