import logging
import os
import threading
import time

import pytest
from parts import make_message, make_outcome

from celeriac import events
from celeriac.errors import EncodeError, StoreFull, TransportLost
from celeriac.model.outcome import Action, Verdict
from celeriac.runtime.settler import BATCH, Settler

pytestmark = pytest.mark.plugins


@pytest.fixture
def lost():
    """The errors that connections were lost by, and when the first came."""

    class Lost(list):
        told = threading.Event()

        def __call__(self, error):
            self.append(error)
            self.told.set()

    lost = Lost()
    lost.told = threading.Event()
    return lost


@pytest.fixture
def attached(settler, store, lost):
    settler.attach(store.transport, store.results, lost)
    return settler


@pytest.fixture
def apart(settler, store, lost, monkeypatch):
    """Attached to a broker and a result store that have no transaction in common."""
    monkeypatch.setattr(store.transport.inner, "commits_with", lambda results: False)
    settler.attach(store.transport, store.results, lost)
    return settler


def test_an_outcome_is_acknowledged_its_result_stored_and_forgotten(attached, store, inflight, hold):
    (held,) = hold()

    attached.report([make_outcome(held.request.key)])
    assert attached.flush(5)

    assert (store.depth.held, store.depth.waiting, len(inflight)) == (0, 0, 0)
    assert store.results.get(["id-1"], timeout=1)["id-1"].state == "SUCCESS"
    assert attached.settled == 1


def test_what_gathers_is_settled_in_one_round_trip(settler, store, hold, lost):
    held = hold(50)

    settler.report([make_outcome(one.request.key) for one in held])
    settler.attach(store.transport, store.results, lost)
    assert settler.flush(5)

    assert store.transport.calls["settle"] == 1


def test_no_report_is_missed_whether_the_settler_works_sleeps_or_is_about_to(attached, hold, inflight):
    held = hold(400)

    def report(mine):
        for one in mine:
            attached.report([make_outcome(one.request.key)])
            if one.request.key % 3 == 0:
                assert attached.flush(5)

    threads = [threading.Thread(target=report, args=(held[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert attached.flush(5)
    assert (attached.settled, len(inflight)) == (400, 0)


def test_what_is_reported_without_a_connection_counts_as_ended_and_unsettled(settler, hold, inflight):
    (held,) = hold()
    inflight.started(held.request.key)

    settler.report([make_outcome(held.request.key)])

    assert inflight.running == 0
    assert settler.keys() == {held.request.key}
    assert settler.deliveries() == [held.delivery]
    assert not settler.flush(0)


def test_no_batch_is_larger_than_the_bound(settler, store, lost):
    settler.post([Verdict(delivery=None)] * (2 * BATCH + 1))

    settler.attach(store.transport, store.results, lost)
    assert settler.flush(5)

    assert store.transport.calls["settle"] == 3


def test_an_outcome_of_a_run_that_is_not_held_any_more_is_dropped(attached, store):
    attached.report([make_outcome(99)])

    assert attached.flush(5)
    assert store.transport.calls["settle"] == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_connection_keeps_what_it_did_not_settle_for_the_next(attached, store, faults, hold, lost, when):
    held = hold(3)
    faults.lose("settle", when=when)

    attached.report([make_outcome(one.request.key) for one in held])
    assert lost.told.wait(5)
    assert not attached.flush(0)
    attached.attach(store.transport, store.results, lost)
    assert attached.flush(5)

    assert store.depth.held == 0
    assert isinstance(lost[0], TransportLost)
    assert len(store.results.get(["id-1", "id-2", "id-3"], timeout=1)) == 3


def test_after_a_failure_less_is_tried_at_a_time_so_that_one_that_never_fits_holds_up_no_other(settler, store, hold):
    """A store without room for one large result has room for all the small ones."""
    held = hold(8)
    settle = store.transport.inner._settle

    def with_little_room(verdicts, timeout):
        if any(verdict.records[0].payload == b"large" for verdict in verdicts):
            raise StoreFull("no room")
        return settle(verdicts, timeout)

    store.transport.inner._settle = with_little_room
    outcomes = [make_outcome(one.request.key) for one in held]
    large = make_outcome(held[0].request.key).records[0]
    outcomes[0] = make_outcome(
        held[0].request.key, records=(type(large)(id="id-1", state="SUCCESS", payload=b"large"),)
    )
    again = threading.Semaphore(0)

    settler.report(outcomes)
    settler.attach(store.transport, store.results, lambda _: again.release())
    for _ in range(8):
        assert again.acquire(timeout=5)
        settler.attach(store.transport, store.results, lambda _: again.release())
        if store.depth.held == 1:
            break

    assert store.depth.held == 1
    assert not settler.flush(0)


def test_follow_ups_and_results_are_stored_before_the_verdict_where_stores_differ(apart, store, hold, faults, lost):
    (held,) = hold()
    faults.lose("settle")

    apart.report([make_outcome(held.request.key, followups=(make_message(id="next"),))])
    assert lost.told.wait(5)

    assert store.depth.waiting == 1
    assert "id-1" in store.results.get(["id-1"], timeout=1)


def test_a_second_try_does_not_publish_follow_ups_again(apart, store, hold, faults, lost):
    (held,) = hold()
    faults.lose("settle")
    apart.report([make_outcome(held.request.key, followups=(make_message(id="next"),))])
    assert lost.told.wait(5)

    apart.attach(store.transport, store.results, lost)
    assert apart.flush(5)

    assert (store.depth.waiting, store.depth.held) == (1, 0)


def test_a_follow_up_that_reaches_no_queue_makes_a_dead_letter_and_holds_up_no_other(attached, store, hold):
    held = hold(3)
    astray = make_message(id="astray")
    astray = type(astray)(body=b"", routing_key="x", exchange="nowhere", headers=astray.headers)

    attached.report(
        [make_outcome(one.request.key, followups=(astray,) if number == 1 else ()) for number, one in enumerate(held)]
    )
    assert attached.flush(5)

    (letter,) = store.letters("dead")
    assert "nowhere" in letter.reason
    assert letter.message.headers["id"] == "id-2"
    assert store.depth.held == 0


@pytest.mark.parametrize(("failures", "dead"), [(2, 1), (3, 1), (4, 0)])
def test_a_verdict_that_cannot_be_written_is_stripped_and_the_thread_lives(
    attached, store, hold, faults, inflight, failures, dead
):
    first, second = hold(2)
    faults.lose("settle", *range(1, failures), error=EncodeError("\ud800"))

    attached.report([make_outcome(first.request.key, followups=(make_message(id="next"),))])
    assert attached.flush(5)
    attached.report([make_outcome(second.request.key)])
    assert attached.flush(5)

    assert len(store.letters("dead")) == dead
    assert len(inflight) == 0
    assert "id-2" in store.results.get(["id-2"], timeout=1)


def test_a_connection_lost_half_way_through_single_items_repeats_none_of_them(attached, store, hold, faults, lost):
    """What was settled must not be settled again: its follow-ups would be published twice."""
    hold(1)
    faults.lose("settle", 1, error=EncodeError("not as a batch"))
    faults.lose("settle", 3)
    messages = [make_message(id=name) for name in ("a", "b", "c")]

    attached.post([Verdict(delivery=None, followups=(message,)) for message in messages])
    assert lost.told.wait(5)
    attached.attach(store.transport, store.results, lost)
    assert attached.flush(5)

    assert store.depth.waiting == 3
    assert attached.refused == 0


def test_the_connection_is_lost_also_while_a_bare_verdict_is_settled(attached, store, hold, faults, lost):
    (held,) = hold()
    faults.lose("settle", 1, error=EncodeError("no"))
    faults.lose("settle", 2)

    attached.report([make_outcome(held.request.key)])
    assert lost.told.wait(5)
    attached.attach(store.transport, store.results, lost)
    assert attached.flush(5)

    assert [letter.kind for letter in store.letters()] == ["dead"]


def test_whatever_is_raised_the_thread_lives_and_another_connection_is_asked_for(attached, store, hold, faults, lost):
    (held,) = hold()
    faults.lose("settle", error=SystemExit(3))

    attached.report([make_outcome(held.request.key)])
    assert lost.told.wait(5)
    attached.attach(store.transport, store.results, lost)

    assert attached.flush(5)
    assert store.depth.held == 0


@pytest.mark.parametrize("error", [ValueError("a listener's"), SystemExit(1)])
def test_a_listener_that_raises_changes_nothing(attached, store, hold, error):
    def listen(sender, **fields):
        raise error

    events.task_settled.connect(listen)
    try:
        for one in hold(2):
            attached.report([make_outcome(one.request.key)])
            assert attached.flush(5)
    finally:
        events.task_settled.disconnect(listen)

    assert store.depth.held == 0


def test_a_late_verdict_is_refused_counted_and_told(attached, store, inflight, hold, clock, caplog):
    (held,) = hold()
    refused = []
    receiver = events.settle_refused.connect(lambda sender, verdicts: refused.extend(verdicts))
    clock.advance(1000)

    attached.report([make_outcome(held.request.key)])
    assert attached.flush(5)
    events.settle_refused.disconnect(receiver)

    assert attached.refused == len(refused) == 1
    assert (len(inflight), store.depth.waiting) == (0, 1)
    assert [record.event for record in caplog.records if record.levelno >= logging.WARNING] == ["settle_refused"]


def test_of_what_is_acknowledged_first_only_what_was_accepted_is_run(attached, store, hold, clock):
    (late,) = hold()
    clock.advance(1000)
    (held,) = hold()
    ran = []

    attached.acknowledge_first([late, held], ran.extend)
    assert attached.flush(5)

    assert ran == [held.request]
    assert held.delivery is None


def test_acknowledged_tasks_that_the_pool_does_not_take_are_published_anew(attached, store, hold):
    (held,) = hold()

    def closed(requests):
        raise RuntimeError("stopped")

    attached.acknowledge_first([held], closed)
    assert attached.flush(5)

    assert (store.depth.waiting, store.depth.held) == (1, 0)


def test_a_task_acknowledged_first_that_wants_to_go_back_is_published_anew(attached, store, hold):
    (held,) = hold()
    attached.acknowledge_first([held], lambda _: None)
    assert attached.flush(5)

    attached.report([make_outcome(held.request.key, action=Action.RELEASE, records=())])
    assert attached.flush(5)

    assert store.depth.waiting == 1


@pytest.mark.parametrize(("started", "deliveries"), [(False, 1), (True, 2)])
def test_what_is_handed_back_counts_only_if_it_had_started(attached, store, hold, started, deliveries):
    (held,) = hold()

    gone = attached.give_back([held.request], started=started)
    assert attached.flush(5)

    assert gone == []
    assert [delivery.deliveries for delivery in store.take()] == [deliveries]


def test_what_was_acknowledged_and_had_started_cannot_be_handed_back(attached, hold, inflight):
    (held,) = hold()
    held.delivery = None

    assert attached.give_back([held.request], started=True) == [held.request]
    assert len(inflight) == 1


def test_what_is_not_held_is_not_handed_back(attached, hold, inflight, store):
    (held,) = hold()
    inflight.remove([held.request.key])

    assert attached.give_back([held.request], started=False) == []
    assert store.depth.held == 1


def test_what_waits_is_known_by_delivery_and_by_key(settler, hold):
    (held,) = hold()

    settler.report([make_outcome(held.request.key)])
    settler.post([Verdict(delivery=None)])

    assert settler.deliveries() == [held.delivery]
    assert settler.keys() == {held.request.key}


def test_nothing_is_settled_while_detached(attached, store, hold):
    (held,) = hold()
    attached.detach()

    attached.report([make_outcome(held.request.key)])

    assert not attached.flush(0.02)
    assert store.depth.held == 1


def test_stopping_before_the_start_does_nothing(inflight, prefetch):
    Settler(inflight=inflight, prefetch=prefetch, journal=None, timeout=1.0).stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_copy_of_a_worker_that_a_task_forked_settles_nothing_and_ends(attached, store, hold):
    (held,) = hold()

    child = os.fork()
    if not child:
        attached.report([make_outcome(held.request.key)])
        os._exit(7)  # not reached
    end = time.monotonic() + 5
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < end

    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert store.depth.held == 1
