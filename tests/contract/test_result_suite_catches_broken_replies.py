"""The contract holds of a model that sends records to who asked, and fails one that is broken in just one way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest
from broken import assert_fails, promises_of
from reply_store import ReplyModule, ReplyStore

from celeriac.errors import StoreLost
from celeriac.model.record import ResultRecord
from celeriac.spi.results import ResultCapabilities
from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.result_stores.replying import Replying
from celeriac.testing.contracts.results import ResultStoreContract


class TestTheModel(ResultStoreContract):
    @pytest.fixture
    def bench(self) -> Iterator[ResultsBench]:
        with ResultsBench(ReplyModule(ReplyStore)) as bench:
            yield bench


class TellsEveryone(ReplyStore):
    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        every = {id_: one for arrived in self.office.arrived.values() for id_, one in arrived.items()}
        return {id_: every[id_] for id_ in ids if id_ in every}


class WantsAName(ReplyStore):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        if not all(record.reply_to for record in records):
            raise StoreLost("a record without an address")
        super()._put(records, timeout)


class WantsAListener(ReplyStore):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        if not all(self.office.listeners[record.reply_to] for record in records if record.reply_to):
            raise StoreLost("nobody listens")
        super()._put(records, timeout)


class GivesUpABatchWithALostRecord(ReplyStore):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        if all(self.office.listeners[record.reply_to] for record in records):
            super()._put(records, timeout)


class SendsOnlyWhenListening(ReplyStore):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        if self.name:
            super()._put(records, timeout)


class EmptiesWhenListening(ReplyStore):
    def listen(self, name: str, *, timeout: float) -> None:
        super().listen(name, timeout=timeout)
        self.office.arrived[name].clear()


class ClosesForAll(ReplyStore):
    def _close(self) -> None:
        self.office.listeners.pop(self.name, None)
        super()._close()


class DeclaresAReachOfItsOwn(ReplyStore):
    capabilities = ResultCapabilities(waits=True, replies=True, durable=False, reach="process")


DEFECTS: dict[str, list[type[ReplyStore]]] = {
    "a_record_goes_where_its_address_says_and_nowhere_else": [TellsEveryone],
    "a_record_that_names_nobody_is_dropped_and_is_no_error": [WantsAName],
    "a_record_for_somebody_who_does_not_listen_is_dropped_and_is_no_error": [
        WantsAListener,
        GivesUpABatchWithALostRecord,
    ],
    "who_does_not_listen_sends_and_reads_nothing": [SendsOnlyWhenListening, TellsEveryone],
    "listening_again_changes_nothing": [EmptiesWhenListening],
    "closing_one_connection_of_a_process_leaves_the_others_listening": [ClosesForAll],
}


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_store_fails(promise: str, broken: type[Any]) -> None:
    assert_fails(ResultStoreContract, promise, ResultsBench(ReplyModule(broken)), {})


def test_capabilities_that_contradict_each_other_fail() -> None:
    promise = "capabilities_and_interfaces_agree"

    assert_fails(ResultStoreContract, promise, ResultsBench(ReplyModule(DeclaresAReachOfItsOwn)), {})


def test_every_test_is_shown_to_fail_some_store() -> None:
    assert sorted(DEFECTS) == promises_of(Replying)
