import threading
from types import SimpleNamespace

import pytest

from celeriac.errors import ConfigurationError, TransportLost
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Key, Step
from celeriac.runtime.consumer import FIRST_RETRY_SECONDS, Consumer, Generation, backoff
from celeriac.runtime.keys import GENERATION

VALUE: Key[int] = Key("value")


class Connection(Step):
    """A blueprint of one step, which fails or is lost as the test says."""

    name = "connection"
    needs = (GENERATION,)
    provides = (VALUE,)

    def __init__(self):
        self.errors = []
        self.generations = []
        self.made = threading.Semaphore(0)
        self.cleanup = lambda: None

    def start(self, boot):
        if self.errors:
            raise self.errors.pop(0)
        generation = boot.get(GENERATION)
        boot.defer(self.cleanup)
        boot.provide(VALUE, generation.number)
        self.generations.append(generation)
        self.made.release()


@pytest.fixture
def connection():
    return Connection()


@pytest.fixture
def given_up():
    class GivenUp(list):
        told = threading.Event()

        def __call__(self, error):
            self.append(error)
            self.told.set()

    given_up = GivenUp()
    given_up.told = threading.Event()
    return given_up


@pytest.fixture
def consume(connection, clock, given_up):
    consumers = []

    def consume(attempts=None, longest_wait=0.01):
        consumer = Consumer(
            SimpleNamespace(clock=clock),
            Graph([connection], given=[GENERATION]),
            {},
            longest_wait=longest_wait,
            attempts=attempts,
            timeout=5.0,
            on_given_up=given_up,
        )
        consumers.append(consumer)
        consumer.start()
        return consumer

    yield consume
    for consumer in consumers:
        consumer.stop(5)
        assert not consumer._thread.is_alive()


def made(connection, count=1):
    for _ in range(count):
        assert connection.made.acquire(timeout=5)
    return connection.generations[-1]


def waits(caplog):
    return [record.retry_in for record in caplog.records if record.event == "broker_lost"]


def test_back_off_doubles_with_jitter_up_to_the_longest():
    for attempt in range(100):
        ceiling = min(30.0, FIRST_RETRY_SECONDS * 2**attempt)

        delay = backoff(attempt, 30.0)

        assert ceiling / 2 <= delay <= ceiling


def test_back_off_differs_between_workers():
    assert len({backoff(5, 30.0) for _ in range(20)}) > 1


def test_the_first_reported_loss_of_a_generation_counts():
    generation = Generation(1)
    first = ConnectionError("reset")

    generation.lose(first)
    generation.lose(ConnectionError("later"))
    generation.wait()

    assert generation.error is first


def test_an_ended_generation_is_not_lost_any_more():
    generation = Generation(1)

    generation.end()
    generation.lose(ConnectionError("too late"))

    assert generation.error is None
    assert generation.ended


def test_a_lost_connection_is_made_anew_as_the_next_generation(consume, connection):
    consumer = consume()

    made(connection).lose(TransportLost("gone"))
    second = made(connection)

    assert second.number == 2
    assert consumer.connected.is_set()


def test_what_an_older_generation_still_reports_is_dropped(consume, connection):
    consume()
    first = made(connection)
    first.lose(TransportLost("gone"))
    second = made(connection)

    first.lose(TransportLost("again"))

    assert not second.ended


def test_values_of_the_running_generation_can_be_asked_for(consume, connection):
    consumer = consume()
    before = Consumer.current(consumer, Key("nobody's"))
    made(connection)
    assert consumer.connected.wait(5)

    assert before is None
    assert consumer.current(VALUE) == 1


def test_a_broker_that_is_not_there_yet_is_tried_until_it_is(consume, connection, given_up):
    connection.errors = [TransportLost("not yet")] * 3

    consume()
    generation = made(connection)

    assert generation.number == 4
    assert not given_up


def test_what_no_other_try_can_mend_is_given_up_at_once(consume, connection, given_up):
    connection.errors = [TransportLost("not yet"), ConfigurationError("another type of exchange")]

    consumer = consume()

    assert given_up.told.wait(5)
    assert consumer.tried.wait(5)
    assert [type(error) for error in given_up] == [ConfigurationError]
    assert not consumer.connected.is_set()


def test_a_defect_after_the_connection_was_up_is_answered_by_another_connection(consume, connection, given_up):
    consume()

    made(connection).lose(ZeroDivisionError("a defect"))
    made(connection)

    assert not given_up


def test_it_gives_up_after_so_many_tries_in_a_row(consume, connection, given_up):
    connection.errors = [TransportLost("gone")] * 3

    consume(attempts=3)

    assert given_up.told.wait(5)
    assert len(given_up) == 1
    assert not connection.errors


def test_a_connection_that_breaks_as_soon_as_it_is_made_is_tried_less_and_less_often(consume, connection, caplog):
    """A full disk, say: each connection is made and breaks at the first verdict; nobody wants a line every 50 ms."""
    consume(longest_wait=0.05)

    for _ in range(4):
        made(connection).lose(TransportLost("full"))
    made(connection)

    assert [wait <= 0.05 for wait in waits(caplog)] == [True] * 4
    assert backoff_steps(caplog) == [0, 1, 2, 3]


def backoff_steps(caplog):
    return [record.losses for record in caplog.records if record.event == "broker_lost"]


def test_after_a_connection_that_lasted_the_back_off_begins_anew(consume, connection, caplog, clock):
    consume(longest_wait=0.05)
    made(connection).lose(TransportLost("at once"))
    second = made(connection)

    clock.advance(1)
    second.lose(TransportLost("after a while"))
    made(connection)

    assert backoff_steps(caplog) == [0, 0]


def test_a_connection_that_is_not_taken_down_cleanly_is_replaced_all_the_same(consume, connection):
    connection.cleanup = lambda: 1 / 0
    consume()

    made(connection).lose(TransportLost("gone"))

    assert made(connection).number == 2
    connection.cleanup = lambda: None


def test_a_stop_ends_the_waiting_for_the_next_try(consume, connection):
    connection.errors = [TransportLost("gone")]
    consumer = consume(longest_wait=600.0)

    consumer.stop(5)

    assert not consumer._thread.is_alive()
    assert consumer.tried.is_set()


def test_a_stop_during_the_boot_ends_the_generation_that_is_being_made(consume, connection):
    booting, go_on = threading.Event(), threading.Event()
    start = connection.start

    def slow(boot):
        booting.set()
        assert go_on.wait(5)
        start(boot)

    connection.start = slow
    consumer = consume()
    assert booting.wait(5)

    consumer.stop(0)
    go_on.set()
    consumer.stop(5)

    assert made(connection).ended


def test_stopping_before_the_start_does_nothing(connection, clock, given_up):
    worker = SimpleNamespace(clock=clock)
    graph = Graph([connection], given=[GENERATION])

    Consumer(worker, graph, {}, longest_wait=1, attempts=None, timeout=1, on_given_up=given_up).stop(1)

    assert not connection.generations
