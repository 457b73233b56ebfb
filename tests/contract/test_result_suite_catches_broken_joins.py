"""Each test of how joins are counted fails a store that counts them wrong in just that way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from broken import MemoryModule, assert_fails, promises_of

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.result_stores.joining import Joining
from celeriac_memory.joins import Joins
from celeriac_memory.results import MemoryResults

replace = msgspec.structs.replace


class NeverComplete(Joins):
    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        super().give(parts, tick, once=once)
        return []


class CompleteWithTheFirst(Joins):
    def open(self, joins: Sequence[Join], tick: float) -> None:
        super().open([replace(join, size=1) for join in joins], tick)


class ForgetsTheHeaders(Joins):
    def open(self, joins: Sequence[Join], tick: float) -> None:
        super().open([replace(join, message=replace(join.message, headers={})) for join in joins], tick)


class InOrderOfArrival(Joins):
    def parts(self, id_: str, tick: float) -> list[Part]:
        known = self._known.get(id_)
        return [] if known is None else list((known.parts or {}).values())


class CountsRepetitions(Joins):
    """Takes every part for one of a new member."""

    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        renamed = [replace(part, member=f"{part.member}-{self._next()}") for part in parts]
        return super().give(renamed, tick, once=once)

    count = 0

    def _next(self) -> int:
        self.count += 1
        return self.count


class TheLastPartStands(Joins):
    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        for part in parts:
            known = self._known.get(part.join)
            if known is not None and known.parts is not None:
                known.parts.pop(part.member, None)
        return super().give(parts, tick, once=once)


class TellsOnce(Joins):
    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        return super().give(parts, tick, once=True)


class TellsOfLateParts(Joins):
    """Asks only whether the join is complete."""

    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        return super().give([*parts, *parts], tick, once=once)


class OnlyCountsSuccesses(Joins):
    def open(self, joins: Sequence[Join], tick: float) -> None:
        super().open([replace(join, failures=join.size + 1) for join in joins], tick)

    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        return super().give([part for part in parts if part.succeeded], tick, once=once)


class FailsWithTheFirst(Joins):
    def open(self, joins: Sequence[Join], tick: float) -> None:
        super().open([replace(join, failures=1) for join in joins], tick)


class MixesJoins(Joins):
    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        return super().give([replace(part, join=parts[0].join) for part in parts], tick, once=once)


class OpensAgain(Joins):
    def open(self, joins: Sequence[Join], tick: float) -> None:
        for join in joins:
            self._known.pop(join.id, None)
        super().open(joins, tick)


class OpensWhatIsClosed(Joins):
    def close(self, ids: Collection[str]) -> None:
        for id_ in ids:
            self._known.pop(id_, None)


class OpensForAPart(Joins):
    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        message = Message(body=b"", routing_key="celery")
        self.open([Join(id=part.join, size=1, successes=1, message=message) for part in parts], tick)
        return super().give(parts, tick, once=once)


class KeepsForEver(Joins):
    def _expire(self, tick: float) -> None:
        pass


class OneProcessAtATime(Joins):
    """Counts only what the first process gives."""

    def give(self, parts: Sequence[Part], tick: float, *, once: bool = False) -> list[Message]:
        return super().give([part for part in parts if part.place % 4 == 0], tick, once=once)


class NeverGrows(Joins):
    def grow(self, growths: Sequence[Growth]) -> None:
        pass


class GrowsAgain(Joins):
    """Takes every growth for one by a new member."""

    count = 0

    def grow(self, growths: Sequence[Growth]) -> None:
        for growth in growths:
            self.count += 1
            super().grow([replace(growth, member=f"{growth.member}-{self.count}")])


class GrowsInSizeOnly(Joins):
    def grow(self, growths: Sequence[Growth]) -> None:
        super().grow([replace(growth, successes=0, failures=0) for growth in growths])


class NeedsMoreSuccesses(Joins):
    def grow(self, growths: Sequence[Growth]) -> None:
        super().grow([replace(growth, successes=1) for growth in growths])


class OpensForAGrowth(Joins):
    def grow(self, growths: Sequence[Growth]) -> None:
        message = Message(body=b"", routing_key="celery")
        self.open([Join(id=growth.join, size=0, successes=0, message=message) for growth in growths], 0.0)
        super().grow(growths)


DEFECTS: dict[str, list[type[Joins]]] = {
    "a_join_is_complete_with_its_last_part": [NeverComplete, CompleteWithTheFirst],
    "the_message_comes_back_whole": [ForgetsTheHeaders],
    "parts_come_back_by_their_places": [InOrderOfArrival],
    "a_member_counts_once_and_its_first_part_stands": [CountsRepetitions, TheLastPartStands],
    "the_same_part_twice_in_one_batch_counts_once": [CountsRepetitions],
    "a_complete_join_is_told_again_with_a_repeated_part_until_it_is_closed": [TellsOnce],
    "a_part_that_comes_after_its_join_is_complete_tells_nothing_until_it_is_repeated": [TellsOfLateParts, TellsOnce],
    "a_failure_completes_a_join_that_needs_every_success": [OnlyCountsSuccesses],
    "a_join_may_wait_for_all_whatever_becomes_of_them": [FailsWithTheFirst, OnlyCountsSuccesses],
    "a_join_may_need_only_some_successes": [FailsWithTheFirst],
    "a_join_that_grows_waits_for_the_added_member_too": [NeverGrows, GrowsInSizeOnly],
    "a_join_grows_by_each_member_once": [NeverGrows, GrowsAgain],
    "what_a_join_needs_grows_as_told": [NeverGrows, GrowsInSizeOnly, NeedsMoreSuccesses],
    "only_an_open_join_grows": [OpensForAGrowth],
    "several_joins_in_one_batch_do_not_mix": [MixesJoins],
    "opening_again_changes_nothing": [OpensAgain],
    "a_closed_join_keeps_nothing_and_does_not_open_again": [OpensWhatIsClosed],
    "parts_of_a_join_that_nobody_opened_are_ignored": [OpensForAPart],
    "a_join_expires": [KeepsForEver],
    "parts_of_several_processes_complete_a_join_whoever_is_last": [OneProcessAtATime],
}


def _module(table: type[Joins]) -> Any:
    return MemoryModule(type("Broken", (MemoryResults,), {"its_joins": table}))


@pytest.mark.parametrize(("promise", "table"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_store_that_counts_wrong_fails(promise: str, table: type[Joins]) -> None:
    assert_fails(Joining, promise, ResultsBench(_module(table)), {})


def test_every_test_is_shown_to_fail_some_store() -> None:
    assert sorted(DEFECTS) == promises_of(Joining)
