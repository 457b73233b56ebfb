"""What arrives in a reply queue, for whom, and what stays when a connection breaks; over a scripted connection."""

from __future__ import annotations

import logging
import queue
import threading
import uuid

import pytest

pytest.importorskip("amqp")

from scripted_line import ScriptedLine, message

from celeriac_amqp import replies
from celeriac_amqp.failures import DeadlineExceeded, LinkLost
from celeriac_amqp.replies import Listener, Mailbox, mailbox

PATIENCE = 10


@pytest.fixture
def lines():
    return [ScriptedLine()]


@pytest.fixture
def box(lines):
    """A mailbox that opens one scripted connection after the other; the test adds more of them."""
    rest = iter(lines)
    return Mailbox(lambda: next(rest))


@pytest.fixture
def listener(box):
    listener = Listener()
    box.listen(listener, PATIENCE)
    return listener


def waiting(box, listener):
    """Wait in a thread; return the function that gives what the wait ended with."""
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def wait():
        try:
            box.wait(listener, PATIENCE)
            ended.put(None)
        except LinkLost as error:
            ended.put(error)

    threading.Thread(target=wait, daemon=True).start()
    return lambda: ended.get(timeout=PATIENCE)


def test_a_watched_result_ends_the_wait_and_is_acknowledged(box, listener, lines):
    listener.watched.add("1")
    lines[0].bring(message("1", tag=7))

    box.wait(listener, PATIENCE)

    assert (listener.ready["1"].state, lines[0].acked) == ("SUCCESS", [7])


def test_a_result_that_nobody_asked_for_yet_is_kept_and_read_any_number_of_times(box, listener, lines):
    lines[0].bring(message("1"))

    assert [set(box.get(["1", "2"], listener)) for _ in range(3)] == [{"1"}] * 3
    assert listener.ready == {}


def test_states_that_are_not_ready_are_kept_but_end_no_wait(box, listener, lines):
    listener.watched.add("1")
    ended = waiting(box, listener)
    lines[0].taking.wait(PATIENCE)

    lines[0].bring(message("1", "STARTED"), message("1", "PROGRESS"), message("1", "SUCCESS"))

    assert ended() is None
    assert listener.ready["1"].state == "SUCCESS"


@pytest.mark.parametrize(
    ("came", "stays"),
    [
        (["STARTED", "RETRY"], "RETRY"),
        (["SUCCESS", "FAILURE"], "SUCCESS"),
        (["FAILURE", "STARTED"], "FAILURE"),
        (["FAILURE", "SUCCESS"], "SUCCESS"),
    ],
)
def test_what_replaces_what(box, listener, lines, came, stays):
    lines[0].bring(*(message("1", state) for state in came))

    assert box.get(["1"], listener)["1"].state == stays


def test_what_one_thread_reads_reaches_who_waits_for_it(box, listener, lines):
    other = Listener()
    box.listen(other, PATIENCE)
    listener.watched.add("1")
    other.watched.add("2")
    first = waiting(box, listener)
    lines[0].taking.wait(PATIENCE)
    second = waiting(box, other)

    lines[0].bring(message("2"))
    assert second() is None
    lines[0].bring(message("1"))
    assert first() is None

    assert (set(listener.ready), set(other.ready)) == ({"1"}, {"2"})
    assert lines[0].log == ["open"]


def test_closing_ends_a_wait(box, listener, lines):
    ended = waiting(box, listener)
    lines[0].taking.wait(PATIENCE)

    box.leave(listener, broken=False)

    assert ended() is None


def test_the_queue_is_deleted_with_the_last_store(box, listener, lines):
    other = Listener()
    box.listen(other, PATIENCE)
    lines[0].bring(message("1"))
    box.get(["1"], other)

    box.leave(listener, broken=False)
    assert lines[0].log == ["open"]
    box.leave(other, broken=False)

    assert lines[0].log == ["open", "delete"]


def test_a_broken_store_leaves_the_queue_and_what_has_come_to_the_next(box, listener, lines):
    lines[0].bring(message("1"))
    assert set(box.get(["1"], listener)) == {"1"}
    lines.append(ScriptedLine())

    box.leave(listener, broken=True)
    again = Listener()
    box.listen(again, PATIENCE)
    lines[1].bring(message("1", "FAILURE"), message("2"))

    assert lines[0].log == ["open", "close"]
    assert {id_: one.state for id_, one in box.get(["1", "2"], again).items()} == {"1": "SUCCESS", "2": "SUCCESS"}


def test_a_connection_that_breaks_ends_every_wait_and_listening(box, listener, lines):
    other = Listener()
    box.listen(other, PATIENCE)
    ended = [waiting(box, each) for each in (listener, other)]
    lines[0].taking.wait(PATIENCE)

    lines[0].breaks()

    assert [type(each()) for each in ended] == [LinkLost, LinkLost]
    with pytest.raises(LinkLost):
        box.listen(listener, PATIENCE)
    with pytest.raises(LinkLost):
        box.get(["1"], listener)


def test_after_a_break_all_stores_share_one_new_connection(box, listener, lines):
    other = Listener()
    box.listen(other, PATIENCE)
    lines[0].breaks()
    lines.append(ScriptedLine())
    for each in (listener, other):
        box.leave(each, broken=True)

    listeners = [Listener(), Listener()]
    for each in listeners:
        box.listen(each, PATIENCE)

    assert listeners[0].line is listeners[1].line is lines[1]
    assert lines[1].log == ["open"]


def test_a_store_that_cannot_be_opened_leaves_no_connection(box, lines):
    lines.insert(0, ScriptedLine(LinkLost("refused")))

    with pytest.raises(LinkLost, match="refused"):
        box.listen(Listener(), PATIENCE)

    assert lines[0].log == ["open", "close"]
    box.listen(Listener(), PATIENCE)
    assert lines[1].log == ["open"]


def test_who_cannot_wait_for_another_that_opens_says_so(box, lines):
    opening, go = threading.Event(), threading.Event()

    def slowly(timeout):
        opening.set()
        go.wait(PATIENCE)

    lines[0].open = slowly
    thread = threading.Thread(target=lambda: box.listen(Listener(), PATIENCE))
    thread.start()
    opening.wait(PATIENCE)

    with pytest.raises(DeadlineExceeded):
        box.listen(Listener(), 0.01)
    go.set()
    thread.join(PATIENCE)


def test_the_oldest_are_dropped_with_one_warning(box, listener, lines, monkeypatch, caplog):
    monkeypatch.setattr(replies, "MOST_RECORDS", 10)

    with caplog.at_level(logging.WARNING):
        lines[0].bring(*(message(str(number)) for number in range(25)))
        found = box.get([str(number) for number in range(25)], listener)

    assert set(found) == {str(number) for number in range(15, 25)}
    assert [record.event for record in caplog.records] == ["replies_dropped"]


def test_large_results_are_dropped_by_their_size(box, listener, lines, monkeypatch):
    monkeypatch.setattr(replies, "MOST_BYTES", 5000)

    lines[0].bring(*(message(str(number), result="x" * 1000) for number in range(10)))

    assert set(box.get([str(number) for number in range(10)], listener)) == {"6", "7", "8", "9"}


def test_deleting_makes_room(box, listener, lines, monkeypatch):
    monkeypatch.setattr(replies, "MOST_BYTES", 5000)
    for number in range(10):
        lines[0].bring(message(str(number), result="x" * 1000))
        assert box.delete([str(number), "unknown"], listener) == 1

    lines[0].bring(message("last", result="x" * 1000))

    assert set(box.get(["last"], listener)) == {"last"}


def test_who_publishes_and_never_waits_takes_what_has_come_now_and_then(box, listener, lines, monkeypatch):
    lines[0].bring(message("1", tag=5))
    box.listen(listener, PATIENCE)
    box._drained -= 2

    box.listen(listener, PATIENCE)

    assert lines[0].acked == [5]


def test_what_is_no_result_is_acknowledged_and_told_of(box, listener, lines, caplog):
    lines[0].bring(message("", tag=3))

    assert box.get(["1"], listener) == {}
    assert lines[0].acked == [3]
    assert [record.event for record in caplog.records] == ["strange_reply"]


def test_a_process_has_one_mailbox_for_each_name():
    name = uuid.uuid4().hex

    assert mailbox(("broker", name), ScriptedLine) is mailbox(("broker", name), ScriptedLine)
    assert mailbox(("broker", name), ScriptedLine) is not mailbox(("other", name), ScriptedLine)
