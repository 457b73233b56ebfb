"""Looking without taking, and what was put aside."""

from __future__ import annotations

import pytest

from celeriac.errors import Unsupported
from celeriac.model.outcome import Action
from celeriac.spi.transport import Inspects, KeepsLetters, Letter, Transport
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import LATER, Q, TransportBench, TransportTests, as_a, bodies

__all__ = ["Inspecting", "KeepingLetters"]


class Inspecting(TransportTests):
    """For transports that declare `inspects`."""

    def test_depths_count_what_waits_and_what_is_held(self, bench: TransportBench) -> None:
        bench.require("inspects")
        transport = bench.connect()
        bench.publish(transport, *"abcde")
        held = bench.take(transport, 3)
        bench.settle(transport, held[0])

        depth = bench.depth(transport)

        assert (depth.queue, depth.waiting, depth.delayed, depth.held) == (Q, 2, 0, 2)

    def test_depths_count_what_is_delayed(self, bench: TransportBench) -> None:
        bench.require("inspects")
        bench.require("sees_delayed")
        bench.require("delays")
        transport = bench.connect()
        bench.publish(transport, "now")
        bench.publish(transport, "later", due=bench.clock.time() + LATER)

        assert (bench.depth(transport).waiting, bench.depth(transport).delayed) == (1, 1)
        bench.pass_time(LATER)
        assert (bench.depth(transport).waiting, bench.depth(transport).delayed) == (2, 0)

    def test_what_a_lapsed_lease_held_waits(self, bench: TransportBench) -> None:
        bench.require("inspects")
        bench.require("leases")
        transport = bench.connect()
        bench.publish(transport, "x")
        bench.take(transport)

        bench.lapse(transport)

        assert (bench.depth(transport).waiting, bench.depth(transport).held) == (1, 0)

    def test_all_queues_are_counted_when_none_is_named(self, bench: TransportBench) -> None:
        bench.require("inspects")
        transport = bench.connect()
        bench.publish(transport, *"ab", queue="one")
        bench.publish(transport, "c", queue="two")

        depths = as_a(Inspects, transport).depths(timeout=TIMEOUT)

        assert {depth.queue: depth.waiting for depth in depths} == {"one": 2, "two": 1}

    def test_the_age_is_that_of_the_oldest_one_waiting(self, bench: TransportBench) -> None:
        bench.require("inspects")
        bench.require("browses")
        transport = bench.connect()
        bench.publish(transport, "old")
        bench.pass_time(LATER)
        bench.publish(transport, "young")

        age = bench.depth(transport).oldest_seconds

        assert age is not None
        assert LATER * 0.9 <= age <= LATER + TIMEOUT

    def test_an_empty_queue_has_no_age(self, bench: TransportBench) -> None:
        bench.require("inspects")
        transport = bench.connect()
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport))

        assert bench.depth(transport).waiting == 0
        assert bench.depth(transport).oldest_seconds is None

    def test_browsing_shows_what_comes_next_and_takes_nothing(self, bench: TransportBench) -> None:
        bench.require("inspects")
        bench.require("browses")
        transport = bench.connect()
        bench.publish(transport, *"abcd")
        bench.take(transport)

        seen = as_a(Inspects, transport).browse(Q, limit=2, timeout=TIMEOUT)

        assert bodies(seen) == ["b", "c"]
        assert bodies(bench.take(transport, 3)) == ["b", "c", "d"]

    def test_who_cannot_show_messages_says_so(self, bench: TransportBench) -> None:
        bench.require("inspects")
        if bench.capabilities.browses:
            pytest.skip("the transport declares browses")
        transport = bench.connect()
        bench.publish(transport, "x")

        with pytest.raises(Unsupported):
            as_a(Inspects, transport).browse(Q, limit=2, timeout=TIMEOUT)

    def test_an_unknown_queue_has_nothing_to_show_or_purge(self, bench: TransportBench) -> None:
        bench.require("inspects")
        inspecting = as_a(Inspects, bench.connect())

        if bench.capabilities.browses:
            assert inspecting.browse("nowhere", limit=2, timeout=TIMEOUT) == []
        assert inspecting.purge("nowhere", timeout=TIMEOUT) == 0

    def test_purging_deletes_what_waits_in_one_queue_and_leaves_what_is_held(self, bench: TransportBench) -> None:
        bench.require("inspects")
        transport = bench.connect()
        bench.publish(transport, *"abc")
        bench.publish(transport, "d", queue="other")
        held = bench.take_one(transport)

        purged = as_a(Inspects, transport).purge(Q, timeout=TIMEOUT)

        assert purged == 2
        bench.assert_empty(transport)
        bench.settle(transport, held, action=Action.RELEASE)
        assert bodies(bench.take(transport)) == ["a"]
        assert bodies(bench.take(transport, 1, ["other"])) == ["d"]

    def test_purging_deletes_what_is_delayed(self, bench: TransportBench) -> None:
        bench.require("inspects")
        bench.require("sees_delayed")
        bench.require("delays")
        transport = bench.connect()
        bench.publish(transport, "later", due=bench.clock.time() + LATER)

        assert as_a(Inspects, transport).purge(Q, timeout=TIMEOUT) == 1
        bench.pass_time(LATER)
        bench.assert_empty(transport)


class KeepingLetters(TransportTests):
    """For transports that declare `letters`."""

    def test_a_letter_says_what_why_when_and_where(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport = bench.connect()
        bench.publish(transport, "x", headers={"task": "t"})
        bench.settle(transport, bench.take_one(transport), action=Action.RELEASE)
        before = bench.clock.time()

        bench.settle(transport, bench.take_one(transport), action=Action.DEAD, reason="naïve: it failed")

        (letter,) = _list(transport)
        assert (letter.kind, letter.queue, letter.reason, letter.deliveries) == ("dead", Q, "naïve: it failed", 2)
        assert letter.message.body == b"x"
        assert letter.message.headers == {"task": "t"}
        assert before - 1 <= letter.moment <= bench.clock.time() + 1

    def test_letters_are_listed_by_kind_and_oldest_first(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport = bench.connect()
        _put_aside(bench, transport, "d1", "d2")
        _put_aside(bench, transport, "p1", action=Action.PARK)
        _put_aside(bench, transport, "d3")

        assert _texts(_list(transport)) == ["d1", "d2", "p1", "d3"]
        letters = as_a(KeepsLetters, transport)
        assert _texts(letters.letters("dead", limit=100, timeout=TIMEOUT)) == ["d1", "d2", "d3"]
        assert _texts(letters.letters("parked", limit=100, timeout=TIMEOUT)) == ["p1"]

    def test_letters_are_listed_page_by_page(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport = bench.connect()
        _put_aside(bench, transport, *"abcde")
        letters = as_a(KeepsLetters, transport)

        first = letters.letters(limit=2, timeout=TIMEOUT)
        second = letters.letters(limit=2, after=first[-1].id, timeout=TIMEOUT)
        third = letters.letters(limit=2, after=second[-1].id, timeout=TIMEOUT)

        assert [_texts(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
        assert letters.letters(limit=2, after=third[-1].id, timeout=TIMEOUT) == []

    @pytest.mark.parametrize("action", [Action.DEAD, Action.PARK])
    def test_a_replayed_letter_is_delivered_as_if_for_the_first_time(
        self, bench: TransportBench, action: Action
    ) -> None:
        bench.require("letters")
        transport = bench.connect()
        _put_aside(bench, transport, "a", "b", "c", action=action)
        chosen = [letter.id for letter in _list(transport) if letter.message.body != b"b"]

        replayed = as_a(KeepsLetters, transport).replay(chosen, timeout=TIMEOUT)

        assert replayed == 2
        taken = bench.take(transport, 2)
        assert sorted(bodies(taken)) == ["a", "c"]
        assert [delivery.deliveries for delivery in taken] == [1, 1]
        assert _texts(_list(transport)) == ["b"]

    def test_a_blocked_receiver_gets_a_replayed_letter(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport, other = bench.connect("a"), bench.connect("b")
        _put_aside(bench, transport, "x")
        receiving = bench.background(lambda: other.receive([Q], limit=1, timeout=60))
        assert bench.is_blocked(receiving)

        as_a(KeepsLetters, transport).replay([letter.id for letter in _list(transport)], timeout=TIMEOUT)

        assert bodies(bench.outcome(receiving)) == ["x"]

    def test_a_discarded_letter_is_gone(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport = bench.connect()
        _put_aside(bench, transport, "a", "b")
        first, second = _list(transport)

        assert as_a(KeepsLetters, transport).discard([first.id], timeout=TIMEOUT) == 1
        assert _list(transport) == [second]
        bench.assert_empty(transport)

    def test_only_letters_that_are_there_are_counted(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport = bench.connect()
        _put_aside(bench, transport, "a")
        (letter,) = _list(transport)
        letters = as_a(KeepsLetters, transport)

        assert letters.replay([letter.id], timeout=TIMEOUT) == 1
        assert letters.replay([letter.id], timeout=TIMEOUT) == 0
        assert letters.discard([letter.id, "no such letter"], timeout=TIMEOUT) == 0
        assert letters.discard([], timeout=TIMEOUT) == 0

    def test_letters_outlive_the_connection(self, bench: TransportBench) -> None:
        bench.require("letters")
        transport = bench.connect()
        _put_aside(bench, transport, "a")

        transport.close()

        assert _texts(_list(bench.connect("b"))) == ["a"]


def _put_aside(bench: TransportBench, transport: Transport, *texts: str, action: Action = Action.DEAD) -> None:
    bench.publish(transport, *texts)
    for delivery in bench.take(transport, len(texts)):
        bench.settle(transport, delivery, action=action, reason="test")


def _list(transport: Transport) -> list[Letter]:
    return as_a(KeepsLetters, transport).letters(limit=1000, timeout=TIMEOUT)


def _texts(letters: list[Letter]) -> list[str]:
    return [letter.message.body.decode() for letter in letters]
