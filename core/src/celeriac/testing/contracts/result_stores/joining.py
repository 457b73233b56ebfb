"""Joins: each member counts once, and a complete join is said to be complete until it is closed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac.spi.results import Chords, Joins
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.result_stores.bench import LATER, ResultsBench, ResultStoreTests

__all__ = ["Joining", "join", "known", "part"]


def join(id_: str, size: int, **terms: Any) -> Join:
    """Make a join that waits for all its members to succeed; its message tells its id."""
    message = Message(body=f"complete {id_}".encode(), routing_key="celery", headers={"id": f"body of {id_}"})
    return Join(id=id_, size=size, message=message, **{"successes": size, **terms})


def part(of: str, place: int, *, succeeded: bool = True, payload: bytes | None = None) -> Part:
    """Make the part of a member named after its place."""
    value = json.dumps([place]).encode() if payload is None else payload
    return Part(join=of, member=f"{of}-{place}", place=place, succeeded=succeeded, payload=value)


class Joining(ResultStoreTests):
    """For stores that declare `joins`."""

    def test_a_join_is_complete_with_its_last_part(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 3)], timeout=TIMEOUT)

        answers = [_give(store, part("g", place)) for place in (2, 0, 1)]

        assert answers == [[], [], ["complete g"]]

    def test_the_message_comes_back_whole(self, bench: ResultsBench) -> None:
        store = _store(bench)
        message = Message(
            body=bytes(range(256)) * 300,
            routing_key="key",
            exchange="other",
            headers={"id": "1", "nested": {"a": [1, None]}},
            properties={"correlation_id": "1"},
            priority=3,
        )
        opened = Join(id="g", size=1, successes=1, message=message)
        store.open_joins([opened], timeout=TIMEOUT)

        (arrived,) = store.give([part("g", 0)], timeout=TIMEOUT)
        same = arrived.body == message.body  # where CI is set, pytest would look long for how so many bytes differ
        assert same, "another body came back"
        assert msgspec.structs.replace(arrived, body=b"") == msgspec.structs.replace(message, body=b"")

    def test_parts_come_back_by_their_places(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 12)], timeout=TIMEOUT)
        parts = [part("g", place, succeeded=place != 5, payload=b"\x00\xff" * place) for place in range(12)]

        store.give([*parts[6:], *reversed(parts[:6])], timeout=TIMEOUT)

        assert known(store) == known(store, parts)

    def test_a_member_counts_once_and_its_first_part_stands(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 2)], timeout=TIMEOUT)
        first = part("g", 0)

        answers = [_give(store, each) for each in (first, first, part("g", 0, succeeded=False, payload=b"late"))]

        assert answers == [[], [], []]
        assert known(store) == known(store, [first])

    def test_the_same_part_twice_in_one_batch_counts_once(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 2)], timeout=TIMEOUT)

        assert _give(store, part("g", 0), part("g", 0)) == []

    def test_a_complete_join_is_told_again_with_a_repeated_part_until_it_is_closed(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 2)], timeout=TIMEOUT)
        _give(store, part("g", 0), part("g", 1))

        again = _give(store, part("g", 1))
        store.close_joins(["g"], timeout=TIMEOUT)

        assert again == ["complete g"]
        assert _give(store, part("g", 1)) == []

    def test_a_part_that_comes_after_its_join_is_complete_tells_nothing_until_it_is_repeated(
        self, bench: ResultsBench
    ) -> None:
        store = _store(bench)
        store.open_joins([join("g", 3)], timeout=TIMEOUT)

        answers = [_give(store, part("g", place, succeeded=place != 0)) for place in (0, 1, 1)]

        assert answers == [["complete g"], [], ["complete g"]]

    def test_a_failure_completes_a_join_that_needs_every_success(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 3)], timeout=TIMEOUT)

        answers = [_give(store, part("g", 0)), _give(store, part("g", 1, succeeded=False))]

        assert answers == [[], ["complete g"]]

    def test_a_join_may_wait_for_all_whatever_becomes_of_them(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 3, failures=4)], timeout=TIMEOUT)

        answers = [_give(store, part("g", place, succeeded=place == 1)) for place in range(3)]

        assert answers == [[], [], ["complete g"]]

    def test_a_join_may_need_only_some_successes(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 5, successes=2, failures=4)], timeout=TIMEOUT)

        answers = [_give(store, part("g", place, succeeded=place > 1)) for place in range(4)]

        assert answers == [[], [], [], ["complete g"]]

    def test_a_join_that_grows_waits_for_the_added_member_too(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 1)], timeout=TIMEOUT)

        store.grow([Growth(join="g", member="g-7"), Growth(join="g", member="g-8")], timeout=TIMEOUT)

        assert [_give(store, part("g", place)) for place in (0, 8, 7)] == [[], [], ["complete g"]]
        assert [each.place for each in store.parts("g", timeout=TIMEOUT)] == [0, 7, 8]

    def test_a_join_grows_by_each_member_once(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 1)], timeout=TIMEOUT)
        growth = Growth(join="g", member="g-1")

        store.grow([growth, growth], timeout=TIMEOUT)
        store.grow([growth], timeout=TIMEOUT)

        assert [_give(store, part("g", place)) for place in range(2)] == [[], ["complete g"]]

    def test_what_a_join_needs_grows_as_told(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 2, failures=2), join("h", 2, successes=1, failures=2)], timeout=TIMEOUT)

        store.grow([Growth(join=id_, member="new", successes=0, failures=1) for id_ in "gh"], timeout=TIMEOUT)

        assert [_give(store, part("g", place, succeeded=False)) for place in range(3)] == [[], [], ["complete g"]]
        assert _give(store, part("h", 0)) == ["complete h"]

    def test_only_an_open_join_grows(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 1)], timeout=TIMEOUT)
        store.close_joins(["g"], timeout=TIMEOUT)

        store.grow([Growth(join="g", member="new"), Growth(join="unknown", member="new")], timeout=TIMEOUT)

        assert [store.parts(id_, timeout=TIMEOUT) for id_ in ("g", "unknown")] == [[], []]
        assert _give(store, part("unknown", 0)) == []

    def test_several_joins_in_one_batch_do_not_mix(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 1), join("h", 2), join("i", 1)], timeout=TIMEOUT)

        answer = _give(store, part("g", 0), part("h", 0), part("i", 0))

        assert sorted(answer) == ["complete g", "complete i"]
        assert known(store, of="h") == known(store, [part("h", 0)])

    def test_opening_again_changes_nothing(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 2)], timeout=TIMEOUT)
        _give(store, part("g", 0))

        store.open_joins([join("g", 1)], timeout=TIMEOUT)

        assert _give(store, part("g", 0)) == []
        assert _give(store, part("g", 1)) == ["complete g"]

    def test_a_closed_join_keeps_nothing_and_does_not_open_again(self, bench: ResultsBench) -> None:
        store = _store(bench)
        store.open_joins([join("g", 2)], timeout=TIMEOUT)
        _give(store, part("g", 0))

        store.close_joins(["g", "never opened"], timeout=TIMEOUT)
        store.open_joins([join("g", 1)], timeout=TIMEOUT)

        assert _give(store, part("g", 1)) == []
        assert store.parts("g", timeout=TIMEOUT) == []

    def test_parts_of_a_join_that_nobody_opened_are_ignored(self, bench: ResultsBench) -> None:
        store = _store(bench)

        assert _give(store, part("g", 0)) == []
        assert store.parts("g", timeout=TIMEOUT) == []

    def test_a_join_expires(self, bench: ResultsBench) -> None:
        store = bench.connect()
        joins = bench.require_joins(store)
        joins.open_joins([join("g", 2, expires_seconds=LATER)], timeout=TIMEOUT)
        _give(joins, part("g", 0))

        bench.pass_time(LATER)
        bench.sweep(store)

        assert joins.parts("g", timeout=TIMEOUT) == []
        assert _give(joins, part("g", 1)) == []

    def test_parts_of_several_processes_complete_a_join_whoever_is_last(self, bench: ResultsBench) -> None:
        store = _store(bench)
        others = [bench.require_joins(bench.connect(str(number))) for number in range(4)]
        store.open_joins([join("g", 200)], timeout=TIMEOUT)
        told: list[str] = []

        def give(mine: int) -> None:
            for place in range(mine, 200, 4):
                told.extend(_give(others[mine], part("g", place)))

        threads = [threading.Thread(target=give, args=(mine,)) for mine in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert told == ["complete g"]
        assert [each.place for each in store.parts("g", timeout=TIMEOUT)] == list(range(200))


def _store(bench: ResultsBench) -> Joins:
    return bench.require_joins(bench.connect())


def known(store: Joins, parts: Sequence[Part] | None = None, of: str = "g") -> list[Part]:
    """Return these parts, or those that a join has, as far as the store knows them."""
    found = store.parts(of, timeout=TIMEOUT) if parts is None else list(parts)
    if not isinstance(store, Chords):
        return found
    return [msgspec.structs.replace(each, member="", succeeded=True) for each in found]


def _give(store: Joins, *parts: Part) -> list[str]:
    return _texts(store.give(parts, timeout=TIMEOUT))


def _texts(messages: Iterable[Message]) -> list[str]:
    return [message.body.decode() for message in messages]
