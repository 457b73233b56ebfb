import threading
from types import SimpleNamespace

import pytest

from celeriac.errors import TransportLost
from celeriac.runtime.watchdog import Watchdog
from celeriac.spi.transport import QueueDepth


class Looked:
    """A broker whose queue is as long as it is told, and the watchdog on it."""

    def __init__(self):
        self.waiting = 1
        self.error = None
        self.room = True
        self.receiver = SimpleNamespace(batches=0)
        self.looks = threading.Semaphore(0)
        self.lost = []
        self.told = threading.Event()

    def depths(self, queues, *, timeout):
        self.looks.release()
        if self.error is not None:
            raise self.error
        return [QueueDepth(queue="celery", waiting=self.waiting)]

    def lose(self, error):
        self.lost.append(error)
        self.told.set()

    def watch(self, interval=0.005):
        watchdog = Watchdog(
            self, queues=["celery"], receiver=self.receiver, has_room=lambda: self.room, lose=self.lose,
            interval=interval, timeout=1,
        )  # fmt: skip
        watchdog.start()
        return watchdog


@pytest.fixture
def broker():
    return Looked()


@pytest.fixture
def watch(broker):
    watchdogs = []

    def watch(**options):
        watchdogs.append(broker.watch(**options))
        return watchdogs[-1]

    yield watch
    for watchdog in watchdogs:
        watchdog.stop(5)


def test_a_connection_that_gives_nothing_while_work_waits_is_torn_down_at_the_second_look(broker, watch):
    watch()

    assert broker.told.wait(5)
    assert isinstance(broker.lost[0], TransportLost)
    assert broker.looks.acquire(timeout=1)
    assert broker.looks.acquire(timeout=1)
    assert not broker.looks.acquire(blocking=False)


@pytest.mark.parametrize(("field", "value"), [("waiting", 0), ("room", False)])
def test_one_that_has_no_reason_to_give_anything_is_left_alone(broker, watch, field, value):
    setattr(broker, field, value)

    watch()

    assert not broker.told.wait(0.05)


def test_one_that_gives_something_between_two_looks_is_left_alone(broker, watch):
    depths = broker.depths

    def moving(queues, *, timeout):
        broker.receiver.batches += 1
        return depths(queues, timeout=timeout)

    broker.depths = moving
    watch()

    assert not broker.told.wait(0.05)


def test_one_that_does_not_answer_is_lost(broker, watch):
    broker.error = TransportLost("no answer")

    watch()

    assert broker.told.wait(5)
    assert broker.lost[0] is broker.error


def test_an_interval_of_zero_never_looks(broker, watch):
    watch(interval=0)

    assert not broker.looks.acquire(timeout=0.02)
