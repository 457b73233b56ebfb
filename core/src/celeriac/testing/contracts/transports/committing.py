"""Commits: a verdict, its records and its follow-ups are one step, or none."""

from __future__ import annotations

import pytest

from celeriac.model.join import Growth
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import FAILURE, SUCCESS, ResultRecord
from celeriac.spi.results import Joins, Waits
from celeriac.spi.transport import Commits, Transport
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.result_stores.joining import join, known, part
from celeriac.testing.contracts.transports.bench import LATER, Q, TransportBench, TransportTests, as_a, bodies, message

__all__ = ["Committing"]


class Committing(TransportTests):
    """For transports that declare `commits`."""

    def test_the_store_of_the_same_address_commits_with_it_and_another_does_not(self, bench: TransportBench) -> None:
        bench.require("commits")
        commits = as_a(Commits, bench.connect())

        with TransportBench(bench.module) as elsewhere:
            assert commits.commits_with(bench.connect_results())
            assert not commits.commits_with(elsewhere.connect_results())

    def test_a_verdict_brings_its_record_and_follow_ups(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()
        bench.publish(transport, "x")
        record = _record("1")

        bench.settle(transport, bench.take_one(transport), records=(record,), followups=_followups("next", "after"))

        assert results.get(["1"], timeout=TIMEOUT) == {"1": record}
        assert bench.drain(transport) == ["next", "after"]

    def test_a_verdict_may_bring_several_records(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport), records=(_record("1", FAILURE), _record("2"), _record("3")))

        assert set(results.get(["1", "2", "3"], timeout=TIMEOUT)) == {"1", "2", "3"}

    def test_a_refused_verdict_brings_nothing(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()
        bench.publish(transport, *"ab")
        done, held = bench.take(transport, 2)
        bench.settle(transport, done)
        stale = Verdict(delivery=done, records=(_record("stale"),), followups=_followups("stale"))
        good = Verdict(delivery=held, records=(_record("good"),), followups=_followups("good"))

        refused = transport.settle([stale, good], timeout=TIMEOUT)

        assert refused == [stale]
        assert set(results.get(["stale", "good"], timeout=TIMEOUT)) == {"good"}
        assert bench.drain(transport) == ["good"]

    def test_a_verdict_after_the_lease_lapsed_brings_nothing(self, bench: TransportBench) -> None:
        bench.require("commits")
        bench.require("leases")
        transport, results = bench.connect(), bench.connect_results()
        bench.publish(transport, "x")
        held = bench.take_one(transport)
        stale = Verdict(delivery=held, records=(_record("1"),), followups=_followups("stale"))
        bench.lapse(transport)

        refused = transport.settle([stale], timeout=TIMEOUT)

        assert refused == [stale]
        assert results.get(["1"], timeout=TIMEOUT) == {}
        assert bench.drain(bench.connect("b")) == ["x"]

    def test_a_verdict_without_a_delivery_brings_its_record_and_follow_ups(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()

        refused = transport.settle(
            [Verdict(delivery=None, records=(_record("1"),), followups=_followups("next"))], timeout=TIMEOUT
        )

        assert refused == []
        assert set(results.get(["1"], timeout=TIMEOUT)) == {"1"}
        assert bench.drain(transport) == ["next"]

    @pytest.mark.parametrize("action", [Action.RELEASE, Action.DEAD, Action.PARK])
    def test_every_action_brings_them(self, bench: TransportBench, action: Action) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()
        bench.publish(transport, "x")
        held = bench.take_one(transport)

        bench.settle(
            transport,
            held,
            action=action,
            reason="why",
            records=(_record("1"),),
            followups=_followups("n", queue="other"),
        )

        assert set(results.get(["1"], timeout=TIMEOUT)) == {"1"}
        assert bench.drain(transport, ["other"]) == ["n"]

    def test_a_follow_up_may_be_delayed(self, bench: TransportBench) -> None:
        bench.require("commits")
        bench.require("delays")
        transport = bench.connect()
        bench.publish(transport, "x")
        retry = message("retry", due=bench.clock.time() + LATER)

        bench.settle(transport, bench.take_one(transport), followups=(retry,))

        bench.assert_empty(transport)
        bench.pass_time(LATER)
        assert bodies(bench.take(transport)) == ["retry"]

    def test_a_blocked_receiver_gets_a_follow_up(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, other = bench.connect("a"), bench.connect("b")
        bench.publish(transport, "x")
        held = bench.take_one(transport)
        receiving = bench.background(lambda: other.receive([Q], limit=1, timeout=60))
        assert bench.is_blocked(receiving)

        bench.settle(transport, held, followups=_followups("next"))

        assert bodies(bench.outcome(receiving)) == ["next"]

    def test_a_settled_record_obeys_the_rules_of_the_result_store(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()
        bench.publish(transport, *"ab")
        first, second = bench.take(transport, 2)
        success = _record("1")
        bench.settle(transport, first, records=(success,))

        bench.settle(transport, second, records=(_record("1", FAILURE),))

        assert results.get(["1"], timeout=TIMEOUT) == {"1": success}

    def test_a_settled_record_is_announced(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, results = bench.connect(), bench.connect_results()
        if not isinstance(results, Waits):
            pytest.skip("its result store does not declare waits")
        results.watch(["1"], timeout=TIMEOUT)
        waiting = bench.background(lambda: results.changed(timeout=60))
        bench.publish(transport, "x")

        bench.settle(transport, bench.take_one(transport), records=(_record("1"),))

        while not (found := bench.outcome(waiting)):
            waiting = bench.background(lambda: results.changed(timeout=60))  # an early empty answer is allowed
        assert set(found) == {"1"}

    def test_who_sees_a_follow_up_sees_the_record(self, bench: TransportBench) -> None:
        bench.require("commits")
        transport, other, results = bench.connect("a"), bench.connect("b"), bench.connect_results()
        rounds = [str(number) for number in range(30)]
        bench.publish(transport, *rounds)

        def watch() -> list[str]:
            seen: list[str] = []
            while len(seen) < len(rounds):
                for delivery in other.receive(["next"], limit=10, timeout=60):
                    id_ = delivery.message.body.decode()
                    seen += results.get([id_], timeout=TIMEOUT) or ["follow-up without its record"]
            return seen

        watching = bench.background(watch)
        for delivery in bench.take(transport, len(rounds)):
            id_ = delivery.message.body.decode()
            bench.settle(transport, delivery, records=(_record(id_),), followups=_followups(id_, queue="next"))

        assert bench.outcome(watching) == rounds

    def test_the_last_part_publishes_the_message_of_its_join_once(self, bench: TransportBench) -> None:
        transport = _joining(bench)
        opened = join("g", 2)
        transport.settle([Verdict(delivery=None, joins=(opened,))], timeout=TIMEOUT)
        bench.publish(transport, *"abc")
        held = bench.take(transport, 3)

        bench.settle(transport, held[0], parts=(part("g", 0),))
        before = bench.drain(transport, ["celery"])
        bench.settle(transport, held[1], parts=(part("g", 1),))
        bench.settle(transport, held[2], parts=(part("g", 1),))

        assert before == []
        assert bench.drain(transport, ["celery"]) == ["complete g"]

    def test_parts_of_one_batch_complete_a_join_opened_in_it(self, bench: TransportBench) -> None:
        transport = _joining(bench)
        bench.publish(transport, *"ab")
        first, second = bench.take(transport, 2)

        transport.settle(
            [
                Verdict(delivery=first, joins=(join("g", 2),), parts=(part("g", 1),)),
                Verdict(delivery=second, parts=(part("g", 0),)),
            ],
            timeout=TIMEOUT,
        )

        assert bench.drain(transport, ["celery"]) == ["complete g"]

    def test_a_join_grows_before_the_part_that_comes_with_it_is_counted(self, bench: TransportBench) -> None:
        transport = _joining(bench)
        bench.publish(transport, *"ab")
        adding, added = bench.take(transport, 2)
        transport.settle([Verdict(delivery=None, joins=(join("g", 1),))], timeout=TIMEOUT)

        bench.settle(transport, adding, parts=(part("g", 0),), grows=(Growth(join="g", member="g-1"),))
        before = bench.drain(transport, ["celery"])
        bench.settle(transport, added, parts=(part("g", 1),))

        assert before == []
        assert bench.drain(transport, ["celery"]) == ["complete g"]

    def test_a_refused_verdict_gives_no_part_and_opens_no_join(self, bench: TransportBench) -> None:
        transport = _joining(bench)
        bench.publish(transport, "x")
        held = bench.take_one(transport)
        transport.settle([Verdict(delivery=held, joins=(join("g", 1),))], timeout=TIMEOUT)

        stale = Verdict(delivery=held, joins=(join("h", 1),), parts=(part("g", 0),))

        assert transport.settle([stale], timeout=TIMEOUT) == [stale]
        assert bench.drain(transport, ["celery"]) == []

    def test_what_the_parts_were_is_read_and_closed_in_the_result_store(self, bench: TransportBench) -> None:
        transport = _joining(bench)
        results = bench.connect_results()
        assert isinstance(results, Joins)
        results.open_joins([join("g", 2)], timeout=TIMEOUT)
        transport.settle([Verdict(delivery=None, parts=(part("g", 1), part("g", 0)))], timeout=TIMEOUT)

        given = known(results)
        transport.settle([Verdict(delivery=None, closes=("g",))], timeout=TIMEOUT)

        assert given == known(results, [part("g", 0), part("g", 1)])
        assert results.parts("g", timeout=TIMEOUT) == []


def _joining(bench: TransportBench) -> Transport:
    bench.require("commits")
    if not bench.connect_results().capabilities.joins:
        pytest.skip("its result store does not declare joins")
    return bench.connect()


def _record(id_: str, state: str = SUCCESS) -> ResultRecord:
    return ResultRecord(id=id_, state=state, payload=b'{"status": "' + state.encode() + b'"}')


def _followups(*texts: str, queue: str = Q) -> tuple[Message, ...]:
    return tuple(message(text, queue) for text in texts)
