"""Each test of the result store contract fails a store that is broken in just that way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.model.record import FAILURE, STARTED, SUCCESS, ResultRecord
from celeriac.spi.results import ResultCapabilities
from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.result_stores.joining import Joining
from celeriac.testing.contracts.result_stores.replying import Replying
from celeriac.testing.contracts.results import ResultStoreContract
from celeriac_memory.results import MemoryResults
from celeriac_memory.store import MemoryStore

replace = msgspec.structs.replace


class Changing(MemoryResults):
    """Stores something else than it was given."""

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put([self.changed(record) for record in records], timeout)

    def changed(self, record: ResultRecord) -> ResultRecord:
        raise NotImplementedError


class DeclaresThatNothingExpires(MemoryResults):
    capabilities = ResultCapabilities(waits=True, expires="never", joins=True)


class ForgetsTheContentType(Changing):
    def changed(self, record: ResultRecord) -> ResultRecord:
        return replace(record, content_type="application/json")


class TruncatesPayloads(Changing):
    def changed(self, record: ResultRecord) -> ResultRecord:
        return replace(record, payload=record.payload[:1000])


class ChangesIds(MemoryResults):
    def changed(self, id_: str) -> str:
        raise NotImplementedError

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put([replace(record, id=self.changed(record.id)) for record in records], timeout)

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        found = super()._get([self.changed(id_) for id_ in ids], timeout)
        return {id_: replace(found[self.changed(id_)], id=id_) for id_ in ids if self.changed(id_) in found}

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        return super()._delete([self.changed(id_) for id_ in ids], timeout)


class CutsLongIds(ChangesIds):
    def changed(self, id_: str) -> str:
        return id_[:200]


class FoldsCase(ChangesIds):
    def changed(self, id_: str) -> str:
        return id_.lower()


class InventsRecords(MemoryResults):
    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        pending = {id_: ResultRecord(id=id_, state="PENDING", payload=b"{}") for id_ in ids}
        return {**pending, **super()._get(ids, timeout)}


class StoresAThousandAtOnce(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put(records[:1000], timeout)


class KeepsRecordsToItself(MemoryResults):
    def _open(self, timeout: float) -> None:
        super()._open(timeout)
        self.store = MemoryStore()
        self._records = self.store.records


class CountsWhatItWasAsked(MemoryResults):
    def _delete(self, ids: Collection[str], timeout: float) -> int:
        super()._delete(ids, timeout)
        return len(ids)


class ClosesOnce(MemoryResults):
    def _close(self) -> None:
        if not self._open_now:
            raise RuntimeError("already closed")
        super()._close()


class WorksWhenClosed(MemoryResults):
    def _check_open(self) -> None:
        pass


class Overwrites(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        for record in records:
            self._records.delete([record.id], 0.0)
            super()._put([record], timeout)


class OverwritesAcrossCalls(MemoryResults):
    """Reads first and writes later, so that another may write between."""

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        old = {id_: record.state for id_, record in self._get([record.id for record in records], timeout).items()}
        for record in records:
            if old.get(record.id) != SUCCESS:
                self._records.delete([record.id], 0.0)
                super()._put([record], timeout)


class KeepsTheFirst(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put([record for record in records if not self._get([record.id], timeout)], timeout)


class TakesTheBatchInReverse(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put(records[::-1], timeout)


class GivesUpABatchWithOneThatStays(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        if not any(old.state == SUCCESS for old in self._get([record.id for record in records], timeout).values()):
            super()._put(records, timeout)


class RemembersDeletedSuccess(MemoryResults):
    def _delete(self, ids: Collection[str], timeout: float) -> int:
        return len(self._get(ids, timeout))


class NeverExpires(Changing):
    def changed(self, record: ResultRecord) -> ResultRecord:
        return replace(record, expires_seconds=None)


class ExpiresAtOnce(Changing):
    def changed(self, record: ResultRecord) -> ResultRecord:
        return replace(record, expires_seconds=0.0)


class KeepsTheFirstExpiry(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put([replace(record, expires_seconds=1.0) for record in records], timeout)


class SweepsWithoutLimit(MemoryResults):
    def sweep(self, *, limit: int, timeout: float) -> int:
        return super().sweep(limit=1000, timeout=timeout)


class AnnouncesNothing(MemoryResults):
    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        pass


class AnnouncesOneAtMost(MemoryResults):
    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        return dict(list(super().changed(timeout=timeout).items())[:1])


class AnnouncesEveryState(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        super()._put(records, timeout)
        self._subscription.ready.update((record.id, record) for record in records)


class AnnouncesOnce(MemoryResults):
    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        found = super().changed(timeout=timeout)
        self._records.unwatch(self._subscription, list(found))
        return found


class KeepsWatching(MemoryResults):
    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        pass


class WatchesOnlyBeforeItWaits(MemoryResults):
    waiting = False

    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        self.waiting = True
        return super().changed(timeout=timeout)

    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        if not self.waiting:
            super().watch(ids, timeout=timeout)


class TellsOneConnection(MemoryResults):
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        ids = [record.id for record in records]
        for id_ in ids:
            for one in list(self._records._subscribers.get(id_, ()))[1:]:
                self._records.unwatch(one, ids)
        super()._put(records, timeout)


class NeverTimesOut(MemoryResults):
    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        return super().changed(timeout=timeout * 1e6)


class ClosesSilently(MemoryResults):
    def _close(self) -> None:
        self._open_now = False


DEFECTS: dict[str, list[type[MemoryResults]]] = {
    "capabilities_and_interfaces_agree": [DeclaresThatNothingExpires],
    "a_record_comes_back_as_it_was_put": [ForgetsTheContentType],
    "a_payload_may_have_any_size": [TruncatesPayloads],
    "an_id_may_be_any_text": [CutsLongIds],
    "ids_that_differ_in_case_are_different": [FoldsCase],
    "an_unknown_id_is_absent": [InventsRecords],
    "many_records_are_put_read_and_deleted_at_once": [StoresAThousandAtOnce],
    "every_connection_reads_what_another_has_put": [KeepsRecordsToItself],
    "deleting_counts_what_was_there": [CountsWhatItWasAsked],
    "records_outlive_the_connection": [KeepsRecordsToItself],
    "closing_twice_or_before_opening_does_nothing": [ClosesOnce],
    "a_closed_connection_says_so": [WorksWhenClosed],
    "success_stays_and_what_has_ended_does_not_go_back": [Overwrites],
    "the_later_of_two_in_one_batch_wins": [TakesTheBatchInReverse],
    "success_stays_within_one_batch": [Overwrites, OverwritesAcrossCalls],
    "one_that_stays_does_not_hinder_the_others_of_its_batch": [GivesUpABatchWithOneThatStays],
    "a_deleted_record_may_be_put_anew": [RemembersDeletedSuccess],
    "success_stays_whoever_writes_at_the_same_time": [Overwrites],
    "the_first_success_stays_whoever_writes_at_the_same_time": [Overwrites],
    "a_record_is_readable_until_it_expires": [NeverExpires, ExpiresAtOnce],
    "an_expired_success_may_be_replaced": [NeverExpires],
    "the_time_counts_from_the_last_put": [KeepsTheFirstExpiry],
    "a_sweep_drops_no_more_than_its_limit_and_counts": [SweepsWithoutLimit, NeverExpires],
    "a_watched_result_is_announced_when_it_is_ready": [AnnouncesNothing],
    "several_results_are_all_announced": [AnnouncesOneAtMost],
    "a_state_that_is_not_ready_is_not_announced": [AnnouncesEveryState],
    "what_nobody_watches_is_not_announced": [AnnouncesEveryState],
    "a_result_stays_watched": [AnnouncesOnce],
    "what_is_no_longer_watched_is_not_announced": [KeepsWatching],
    "an_id_may_be_watched_while_another_thread_waits": [WatchesOnlyBeforeItWaits],
    "every_connection_that_watches_is_told": [TellsOneConnection],
    "waiting_ends_after_its_timeout": [NeverTimesOut],
    "closing_ends_a_wait": [ClosesSilently],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_payload_may_have_any_size": {"size": 1_000_000},
    "an_id_may_be_any_text": {"id_": "x" * 400},
}

REPLACED_WRONGLY = [(SUCCESS, FAILURE), (SUCCESS, SUCCESS), (SUCCESS, STARTED), (FAILURE, STARTED)]


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_store_fails(promise: str, broken: type[MemoryResults]) -> None:
    parameters = PARAMETERS.get(promise, {})
    if promise == "success_stays_and_what_has_ended_does_not_go_back":
        parameters = {"old": SUCCESS, "new": FAILURE}

    assert_fails(ResultStoreContract, promise, ResultsBench(MemoryModule(broken)), parameters)


@pytest.mark.parametrize(("old", "new"), REPLACED_WRONGLY)
def test_a_store_that_overwrites_fails_for_each_forbidden_step(old: str, new: str) -> None:
    promise = "success_stays_and_what_has_ended_does_not_go_back"

    assert_fails(ResultStoreContract, promise, ResultsBench(MemoryModule(Overwrites)), {"old": old, "new": new})


def test_a_store_that_keeps_the_first_fails_for_an_allowed_step() -> None:
    promise = "success_stays_and_what_has_ended_does_not_go_back"
    step = {"old": STARTED, "new": SUCCESS}

    assert_fails(ResultStoreContract, promise, ResultsBench(MemoryModule(KeepsTheFirst)), step)


def test_every_test_is_shown_to_fail_some_store() -> None:
    # test_result_suite_catches_broken_joins.py and …_broken_replies.py show these
    elsewhere = promises_of(Joining, Replying)

    assert sorted([*DEFECTS, *elsewhere]) == promises_of(ResultStoreContract)
