"""A connection that breaks, at every kind of call: the worker comes back and nothing is lost."""

from __future__ import annotations

import threading
import time

import pytest
from running import eventually, running

from celeriac import events
from celeriac.errors import StoreFull, TransportLost
from celeriac.runtime.worker import Worker
from celeriac.testing.faulty import Faults, FaultyTransport

TASKS = 200


@pytest.fixture
def faults(app, monkeypatch):
    """What goes wrong on the worker's connections; the client's own is whole."""
    faults = Faults()
    app.connections.transport()
    make = app.connections.new_transport
    monkeypatch.setattr(app.connections, "new_transport", lambda holder: FaultyTransport.wrap(make(holder), faults))
    app.conf.broker_reconnect_max_seconds = 0.2
    app.conf.broker_transport_options = {"lease_seconds": 1.0}
    return faults


@pytest.fixture
def lost():
    """Count the connections that broke."""
    seen = []
    receiver = events.broker_lost.connect(lambda sender, **fields: seen.append(fields["generation"]))
    yield seen
    events.broker_lost.disconnect(receiver)


@pytest.fixture
def double(app):
    @app.task
    def double(n):
        return n * 2

    return double


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["receive", "settle"])
def test_no_task_is_lost_when_calls_break(app, double, faults, lost, method, when):
    for call in (2, 3, 5):
        faults.lose(method, call, when=when)

    with running(app, prefetch_multiplier=20):
        results = app.publish_many([double.s(n) for n in range(TASKS)])

        assert [result.get(timeout=20) for result in results] == [n * 2 for n in range(TASKS)]
        eventually(lambda: not faults.pending, "every fault")
    assert len(lost) == 3


def test_a_worker_starts_though_the_broker_is_not_there_yet(app, double, faults, lost):
    faults.sleep()
    threading.Timer(0.5, faults.wake_up).start()

    with running(app):
        assert double.delay(1).get(timeout=10) == 2

    assert lost


def test_a_worker_outlasts_a_broker_that_is_gone_for_a_while(app, double, faults, lost):
    with running(app):
        assert double.delay(1).get(timeout=10) == 2

        with faults.asleep():
            result = double.delay(2)
            eventually(lambda: len(lost) >= 3, "several tries")
        healed = time.monotonic()
        assert result.get(timeout=10) == 4
        took = time.monotonic() - healed

    assert took < app.conf.broker_reconnect_max_seconds + 1.0


def test_what_ended_while_the_broker_was_gone_is_settled_when_it_is_back(app, faults, transport):
    running_now, go_on = threading.Event(), threading.Event()
    runs = []

    @app.task
    def slow():
        runs.append(True)
        running_now.set()
        assert go_on.wait(10)
        return "done"

    with running(app, pool="threads", concurrency=2):
        result = slow.delay()
        assert running_now.wait(10)
        with faults.asleep():
            go_on.set()
            # The end of the task must meet a broker that is gone: wait for the settlement to fail.
            eventually(lambda: faults.calls["settle"], "a try to settle")
        assert result.get(timeout=10) == "done"

    assert runs == [True]


def test_a_broker_that_never_comes_ends_the_worker_if_retrying_is_off(app, faults):
    app.conf.broker_connection_retry = False
    faults.sleep()
    worker = Worker(app, pool="solo")

    assert worker.run() == 1


def test_a_full_broker_is_waited_out(app, double, faults, lost):
    faults.lose("settle", 1, error=StoreFull("no room"))

    with running(app):
        assert double.delay(1).get(timeout=10) == 2

    assert lost


def test_a_lease_that_lapsed_is_told_and_the_late_verdict_refused(app, faults, transport):
    begun, go_on, refused, told = (threading.Event() for _ in range(4))
    on_refusal = events.settle_refused.connect(lambda sender, **fields: refused.set())
    on_lapse = events.lease_lost.connect(lambda sender, **fields: told.set())

    @app.task
    def wait():
        begun.set()
        assert go_on.wait(10)

    faults.delay("renew", 2.0, 1)
    try:
        with running(app, pool="threads", concurrency=1):
            wait.delay()
            assert begun.wait(10)
            taken = eventually(lambda: transport.receive(["celery"], limit=1, timeout=0.1), "the lapse")
            assert told.wait(10)
            go_on.set()
            assert refused.wait(10)
    finally:
        events.settle_refused.disconnect(on_refusal)
        events.lease_lost.disconnect(on_lapse)

    assert [delivery.deliveries for delivery in taken] == [2]


def test_a_silent_connection_is_torn_down_while_work_waits(app, double, faults, lost, monkeypatch):
    app.conf.worker_watchdog_seconds = 0.2
    deaf = threading.Event()
    receive = FaultyTransport._receive

    def hear_nothing(self, queues, limit, timeout):
        if deaf.is_set():
            time.sleep(0.05)
            return []
        return receive(self, queues, limit, timeout)

    monkeypatch.setattr(FaultyTransport, "_receive", hear_nothing)
    with running(app):
        assert double.delay(1).get(timeout=10) == 2
        deaf.set()
        # A call that was waiting already hears some; no later one hears any.
        results = []

        def torn_down():
            results.append(double.delay(len(results)))
            return lost

        eventually(torn_down, "the connection is torn down")
        deaf.clear()

        assert [result.get(timeout=10) for result in results] == [2 * n for n in range(len(results))]


def test_errors_of_a_lost_broker_name_it_without_its_password(app, faults):
    faults.sleep()
    with pytest.raises(TransportLost) as caught:
        app.connections.new_transport("holder").open(timeout=1)

    assert "**" in str(caught.value) or "@" not in str(caught.value)
