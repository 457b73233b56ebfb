"""What the store sends and how, and where it looks for what came; over a scripted publisher and connection."""

from __future__ import annotations

import threading
import uuid

import pytest

pytest.importorskip("amqp")

from scripted_line import ScriptedLine, message

from celeriac.errors import ConfigurationError, DeadlineExceeded, StoreFull, StoreLost
from celeriac.model.address import Address
from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.spi.service import Context
from celeriac_amqp import failures
from celeriac_amqp.failures import LinkLost, Nacked
from celeriac_amqp.results import RpcResults

TIMEOUT = 5


class ScriptedPublisher:
    def __init__(self):
        self.sent = []
        self.confirmed = []
        self.fails = None

    def send(self, messages, *, timeout):
        if self.fails is not None:
            raise self.fails
        self.sent.append(messages)

    def publish(self, messages, *, mandatory, timeout):
        assert not mandatory, "a queue that is gone is no error"
        if self.fails is not None:
            raise self.fails
        self.confirmed.append(messages)
        return []


class Scripted(RpcResults):
    def __init__(self, address, context):
        super().__init__(address, context)
        self.script = ScriptedPublisher()
        self.lines = [ScriptedLine()]

    def _connected(self, timeout):
        return self.script

    def _line_to(self, name):
        return self.lines[-1]


@pytest.fixture
def make():
    """Give a function that returns an open store."""
    made = []

    def open_store(url="rpc://", **options):
        store = Scripted(Address.parse(url), Context(options=options))
        store.open(timeout=TIMEOUT)
        made.append(store)
        return store

    yield open_store
    for store in made:
        store.close()


@pytest.fixture
def store(make):
    return make()


@pytest.fixture
def name():
    return uuid.uuid4().hex


def record(id_="1", **fields):
    return ResultRecord(**{"id": id_, "state": SUCCESS, "payload": b"{}", "reply_to": "me", **fields})


def test_results_are_sent_in_one_write_and_nobody_waits_for_them(store):
    store.put([record("1"), record("2", reply_to="other")], timeout=TIMEOUT)

    (batch,) = store.script.sent
    assert [(each.routing_key, each.properties.delivery_mode) for each in batch] == [("me", 1), ("other", 1)]


def test_persistent_results_are_confirmed(make):
    store = make(result_persistent=True)

    store.put([record()], timeout=TIMEOUT)

    ((sent,),) = store.script.confirmed
    assert (sent.properties.delivery_mode, store.script.sent) == (2, [])


def test_results_that_nobody_asked_for_are_counted_and_open_nothing(store):
    store._connected = None

    store.put([record(reply_to=""), record(reply_to="")], timeout=TIMEOUT)

    assert store.dropped == 2


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (LinkLost("gone"), StoreLost),
        (failures.DeadlineExceeded("the broker takes nothing: memory", sent=False), DeadlineExceeded),
        (Nacked([0]), StoreFull),
    ],
)
def test_errors_are_the_kernels_and_name_the_place(make, raised, expected):
    store = make("rpc://user:secret@box/jobs", result_persistent=True)
    store.script.fails = raised

    with pytest.raises(expected, match=r"rpc://user:\*\*@box/jobs"):
        store.put([record()], timeout=TIMEOUT)


def test_a_broker_that_is_no_rabbitmq_is_refused_with_the_fix():
    with pytest.raises(ConfigurationError, match=r"the broker is redis://box.*result_backend"):
        RpcResults(Address.parse("redis://box"), Context())


def test_who_listens_reads_what_came(store, name):
    store.listen(name, timeout=TIMEOUT)
    store.lines[0].bring(message("1"))

    assert set(store.get(["1"], timeout=TIMEOUT)) == {"1"}
    assert store.delete(["1"], timeout=TIMEOUT) == 1
    assert store.get(["1"], timeout=TIMEOUT) == {}


def test_who_does_not_listen_reads_nothing_and_opens_nothing(store):
    store.watch(["1"], timeout=TIMEOUT)

    assert (store.get(["1"], timeout=TIMEOUT), store.delete(["1"], timeout=TIMEOUT)) == ({}, 0)
    assert store.changed(timeout=0.01) == {}
    assert store.lines[0].log == []


def test_a_wait_that_began_before_anything_was_published_hears_of_it(store, name):
    store.watch(["1"], timeout=TIMEOUT)
    found = []
    thread = threading.Thread(target=lambda: found.append(store.changed(timeout=30)))
    thread.start()

    store.listen(name, timeout=TIMEOUT)
    store.lines[0].bring(message("1"))
    thread.join(TIMEOUT)

    assert [set(each) for each in found] == [{"1"}]


def test_closing_ends_a_wait_before_anything_was_published(store):
    found = []
    thread = threading.Thread(target=lambda: found.append(store.changed(timeout=30)))
    thread.start()

    store.close()
    thread.join(TIMEOUT)

    assert found in ([{}], [])  # or it began after the end, and was told so
    assert not thread.is_alive()


def test_two_stores_of_a_process_hear_of_the_same_results(make, name):
    one, other = make(), make()
    for store in (one, other):
        store.listen(name, timeout=TIMEOUT)
        store.watch(["1"], timeout=TIMEOUT)

    one.lines[0].bring(message("1"))

    assert set(one.changed(timeout=TIMEOUT)) == set(other.changed(timeout=TIMEOUT)) == {"1"}
    assert other.lines[0].log == []


def test_closing_deletes_the_queue_unless_the_store_broke(make, name):
    one, other = make(), make()
    one.listen(name, timeout=TIMEOUT)
    other.listen(name + "2", timeout=TIMEOUT)
    other.script.fails = LinkLost("gone")
    with pytest.raises(StoreLost):
        other.put([record()], timeout=TIMEOUT)

    one.close()
    other.close()

    assert (one.lines[0].log, other.lines[0].log) == (["open", "delete"], ["open", "close"])


def test_a_lost_connection_is_an_error_and_the_next_store_goes_on_with_the_queue(make, name):
    store = make()
    store.listen(name, timeout=TIMEOUT)
    store.lines[0].bring(message("1"))
    store.get(["1"], timeout=TIMEOUT)
    store.lines[0].breaks()
    with pytest.raises(StoreLost):
        store.changed(timeout=TIMEOUT)
    with pytest.raises(StoreLost):
        store.listen(name, timeout=TIMEOUT)
    store.lines.append(ScriptedLine())
    store.close()

    again = make()
    again.listen(name, timeout=TIMEOUT)

    assert set(again.get(["1"], timeout=TIMEOUT)) == {"1"}


def test_listening_under_another_name_leaves_the_former(store, name):
    store.listen(name, timeout=TIMEOUT)
    former = store.lines[0]
    store.lines.append(ScriptedLine())

    store.listen(name + "2", timeout=TIMEOUT)

    assert (former.log, store.lines[1].log) == (["open", "delete"], ["open"])


def test_a_closed_store_says_so(store):
    store.close()

    for call in (
        lambda: store.put([record()], timeout=TIMEOUT),
        lambda: store.get(["1"], timeout=TIMEOUT),
        lambda: store.changed(timeout=TIMEOUT),
        lambda: store.listen("me", timeout=TIMEOUT),
    ):
        with pytest.raises(StoreLost, match="not open"):
            call()
