"""Who waits is woken by who commits, in whatever process, and not by looking again and again."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import ResultRecord

SECONDS = 5.0
NEVER = 3600.0
"""A safety poll that a test does not live to see: what arrives was rung."""


@pytest.fixture
def thread():
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def _registered(stores, topics: int) -> None:
    """Wait until so many topics have a listener."""
    watching = stores.transport(holder="watching")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with watching._database.read("test", SECONDS) as connection:
            if connection.execute("SELECT count(DISTINCT topic) FROM listener").fetchone()[0] >= topics:
                return
    pytest.fail("nobody listens")


def test_a_publish_wakes_a_receiver_of_that_queue(live, message, thread) -> None:
    receiver, publisher = live.transport(poll_seconds=NEVER), live.transport(holder="b")
    receiving = thread(receiver.receive, ["other", "q"], limit=5, timeout=60)
    _registered(live, 2)

    publisher.publish([message("x")], timeout=SECONDS)

    assert [one.message.body for one in receiving.result(SECONDS)] == [b"x"]


def test_a_follow_up_a_release_and_a_replay_wake_a_receiver(live, message, thread) -> None:
    receiver, worker = live.transport(poll_seconds=NEVER), live.transport(holder="b")
    worker.publish([message("first", "work"), message("second", "work"), message("third", "work")], timeout=SECONDS)
    first, second, third = worker.receive(["work"], limit=3, timeout=0)
    wake = [
        (Verdict(delivery=first, followups=(message("next", "q"),)), ["q"], b"next"),
        (Verdict(delivery=second, action=Action.RELEASE), ["work"], b"second"),
        (Verdict(delivery=third, action=Action.PARK, reason="unknown"), ["work"], b"third"),
    ]

    for count, (verdict, queues, expected) in enumerate(wake, 1):
        receiving = thread(receiver.receive, queues, limit=1, timeout=60)
        _registered(live, min(count, 2))
        worker.settle([verdict], timeout=SECONDS)
        if verdict.action is Action.PARK:
            worker.replay([letter.id for letter in worker.letters(limit=1, timeout=SECONDS)], timeout=SECONDS)
        (taken,) = receiving.result(SECONDS)
        assert taken.message.body == expected
        receiver.settle([Verdict(delivery=taken)], timeout=SECONDS)


def test_every_thread_that_waits_on_one_connection_is_woken(live, message, thread) -> None:
    receiver, publisher = live.transport(poll_seconds=NEVER), live.transport(holder="b")
    first = thread(receiver.receive, ["one"], limit=1, timeout=60)
    second = thread(receiver.receive, ["two"], limit=1, timeout=60)
    _registered(live, 2)

    publisher.publish([message("2", "two")], timeout=SECONDS)
    publisher.publish([message("1", "one")], timeout=SECONDS)

    assert first.result(SECONDS)[0].message.body == b"1"
    assert second.result(SECONDS)[0].message.body == b"2"


def test_a_lost_datagram_is_made_up_for_by_the_safety_poll(live, message, thread) -> None:
    receiver, publisher = live.transport(poll_seconds=0.05), live.transport(holder="b")
    receiving = thread(receiver.receive, ["q"], limit=1, timeout=60)
    _registered(live, 1)
    publisher._database._ringer.ring = lambda ports: None  # type: ignore[method-assign]

    publisher.publish([message("x")], timeout=SECONDS)

    assert len(receiving.result(SECONDS)) == 1


def test_a_receiver_wakes_when_a_delayed_message_is_due(live, message, thread) -> None:
    receiver, publisher = live.transport(poll_seconds=NEVER), live.transport(holder="b")
    receiving = thread(receiver.receive, ["q"], limit=1, timeout=60)
    _registered(live, 1)
    due = time.time() + 0.15

    publisher.publish([message("x", due=due)], timeout=SECONDS)

    assert len(receiving.result(SECONDS)) == 1
    assert time.time() >= due


def test_a_receiver_wakes_when_a_lease_lapses(live, message, thread) -> None:
    dying, receiver = live.transport(lease_seconds=0.2), live.transport(holder="b", poll_seconds=NEVER)
    dying.publish([message("x")], timeout=SECONDS)
    assert len(dying.receive(["q"], limit=1, timeout=0)) == 1

    receiving = thread(receiver.receive, ["q"], limit=1, timeout=60)

    assert receiving.result(SECONDS)[0].deliveries == 2


def test_waking_ends_the_next_receive_if_none_is_blocked(live) -> None:
    transport = live.transport(poll_seconds=NEVER)

    transport.wake()

    assert transport.receive(["q"], limit=1, timeout=60) == []


def test_closing_ends_a_blocked_receive(live, thread) -> None:
    transport = live.transport(poll_seconds=NEVER)
    receiving = thread(transport.receive, ["q"], limit=1, timeout=60)
    _registered(live, 1)

    transport.close()

    assert isinstance(receiving.exception(SECONDS), ConnectionError)


def test_a_settlement_announces_its_results_in_another_process(live, start, message, thread) -> None:
    waiting, publisher = live.results(poll_seconds=NEVER), live.transport()
    waiting.watch(["task-1"], timeout=SECONDS)
    changed = thread(waiting.changed, timeout=60)

    publisher.publish([message("task-1")], timeout=SECONDS)
    start("work", "child")

    assert changed.result(20)["task-1"].payload == b"child"


def test_a_put_of_another_process_is_announced(live, start, thread) -> None:
    waiting = live.results(poll_seconds=NEVER)
    waiting.watch(["a"], timeout=SECONDS)
    child = start("put", "a")
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "ready\n"
    changed = thread(waiting.changed, timeout=60)

    child.stdin.write("go\n")
    child.stdin.flush()

    assert changed.result(SECONDS).keys() == {"a"}


def test_few_awaited_among_many_new_results_and_the_other_way_round(live) -> None:
    few, many = live.results(), live.results()
    ids = [str(number) for number in range(300)]
    few.watch(["7"], timeout=SECONDS)
    many.watch([*ids, *(f"other-{id_}" for id_ in ids)], timeout=SECONDS)

    live.results().put([ResultRecord(id=id_, state="SUCCESS", payload=b"") for id_ in ids], timeout=SECONDS)

    assert few.changed(timeout=0).keys() == {"7"}
    assert many.changed(timeout=0).keys() == set(ids)
    assert many.changed(timeout=0) == {}


def test_an_idle_receiver_costs_next_to_nothing(live) -> None:
    transport = live.transport()
    transport.receive(["q"], limit=1, timeout=0)
    before = time.thread_time()

    assert transport.receive(["q"], limit=1, timeout=1.5) == []

    assert time.thread_time() - before < 0.015  # 1 % of a core


def test_a_round_trip_between_two_processes_does_not_wait_for_a_poll(live, start) -> None:
    transport = live.transport(poll_seconds=NEVER)
    child = start("answer", "20")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    started = time.monotonic()

    for number in range(20):
        transport.publish([Message(body=str(number).encode(), routing_key="q")], timeout=SECONDS)
        (back,) = transport.receive(["back"], limit=1, timeout=SECONDS)
        transport.settle([Verdict(delivery=back)], timeout=SECONDS)

    assert time.monotonic() - started < 5, "20 round trips took as long as polling would"


def test_a_listener_of_before_a_restart_is_not_rung(stores, clock) -> None:
    transport = stores.transport()
    clock.advance(1_000_000)
    with transport._database.write("test", SECONDS) as transaction:
        transaction.execute("INSERT INTO listener (topic, port, expires) VALUES (1, 9, ?)", (clock.monotonic() + 60,))
    restarted = type(clock)()
    rung: list[int] = []
    transport._database.clock = restarted
    transport._database._ringer.ring = rung.extend  # type: ignore[method-assign]

    with transport._database.write("test", SECONDS) as transaction:
        transaction.bells.add(1)

    assert rung == []


def test_the_thread_count_does_not_grow_with_connections(live) -> None:
    before = threading.active_count()

    live.transport().receive(["q"], limit=1, timeout=0.01)

    assert threading.active_count() == before


def test_who_listens_or_rings_while_the_transport_closes_leaves_no_socket_open(live) -> None:
    transport = live.transport()

    with transport._doorbells.borrow():
        transport.close()
        with transport._doorbells.borrow() as late:
            assert late._bound()
            late.ring()
    transport._database._ringer.ring([late._port])

    assert late._socket is None
    assert late._ringer._socket is None
    assert transport._database._ringer._socket is None


def test_a_listener_that_registers_removes_none_that_registered_a_moment_later_by_its_own_clock(stores, clock) -> None:
    """Two threads look at the clock in one order and reach the database in the other."""
    first, second = stores.transport(), stores.transport(holder="b")
    clock.advance(0.01)

    with first._doorbells.borrow() as bell:
        bell.listen([1], SECONDS)
    with second._doorbells.borrow() as bell:
        bell._clock = type(clock)()
        bell.listen([2], SECONDS)

    with first._database.read("test", SECONDS) as connection:
        assert connection.execute("SELECT topic FROM listener ORDER BY topic").fetchall() == [(1,), (2,)]
