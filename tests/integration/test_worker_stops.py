"""Stops and other troubles at the worst moment: nothing is lost, doubled or left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from running import eventually, running

from celeriac import Celeriac, events
from celeriac.kernel.steps import Boot, Step
from celeriac.runtime.worker import Worker
from celeriac.testing.faulty import Faults, FaultyTransport


@pytest.fixture
def faults(app, monkeypatch):
    """What goes wrong on the worker's connections; the client's own is whole."""
    faults = Faults()
    app.connections.transport()
    make = app.connections.new_transport
    monkeypatch.setattr(app.connections, "new_transport", lambda holder: FaultyTransport.wrap(make(holder), faults))
    app.conf.broker_reconnect_max_seconds = 0.1
    return faults


class Gate:
    """A task's way to say that it runs, and to wait until it may go on."""

    def __init__(self):
        self.running, self.go_on = threading.Event(), threading.Event()

    def pass_through(self):
        self.running.set()
        assert self.go_on.wait(20)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.go_on.set()


@pytest.fixture
def wait(app, gate):
    @app.task(name="wait")
    def wait():
        gate.pass_through()
        return "ended"

    return wait


def depth(transport):
    return transport.depths(["celery"], timeout=5)[0]


def seen(caplog, event):
    return [record for record in caplog.records if getattr(record, "event", None) == event]


def test_a_worker_told_to_stop_before_it_runs_stops_at_once_and_takes_nothing(app, wait, transport):
    wait.delay()
    worker = Worker(app, pool="threads", concurrency=1)

    worker.stop()

    assert worker.run() == 0
    assert depth(transport).waiting == 1


def test_a_worker_runs_once(app):
    worker = Worker(app, pool="solo")
    worker.stop()
    worker.run()

    with pytest.raises(RuntimeError, match="once"):
        worker.run()


def test_a_stop_while_the_broker_is_gone_and_never_comes_ends_all_the_same(app, faults, wait, gate):
    app.conf.broker_timeout_seconds = 0.2
    result = wait.delay()
    with running(app, pool="threads", concurrency=1) as worker:
        assert gate.running.wait(10)
        faults.sleep()
        gate.go_on.set()

        worker.stop()

        assert worker.wait_until_stopped(10)
    assert result.state == "PENDING"


def test_a_broker_that_comes_back_during_a_warm_stop_gets_what_ended_meanwhile(app, faults, wait, gate, transport):
    result = wait.delay()
    with running(app, pool="threads", concurrency=1) as worker:
        assert gate.running.wait(10)
        with faults.asleep():
            worker.stop()
            gate.go_on.set()
            eventually(lambda: faults.calls["settle"], "a try to settle")
        assert worker.wait_until_stopped(10)

    assert result.get(timeout=5) == "ended"
    assert depth(transport).held == 0


def test_a_broker_lost_during_a_warm_stop_is_connected_anew_and_nothing_more_is_taken(
    app, faults, wait, gate, transport
):
    app.conf.broker_transport_options = {"lease_seconds": 0.3}
    connected = []
    receiver = events.broker_connected.connect(lambda sender, generation: connected.append(generation))
    first = wait.delay()
    with running(app, pool="threads", concurrency=2) as worker:
        assert gate.running.wait(10)
        worker.stop()
        wait.delay()
        with faults.asleep():
            eventually(lambda: faults.calls["open"] > 1, "a try to connect anew")
        eventually(lambda: len(connected) > 1, "the next connection")
        gate.go_on.set()
        assert worker.wait_until_stopped(10)
    events.broker_connected.disconnect(receiver)

    assert first.id
    assert depth(transport).waiting >= 1


def test_the_watchdog_is_quiet_while_a_warm_stop_waits_for_a_task(app, wait, gate, caplog):
    """Work waits and a slot is free, but on purpose."""
    app.conf.worker_watchdog_seconds = 0.02
    lost = []
    receiver = events.broker_lost.connect(lambda sender, **fields: lost.append(fields))
    wait.delay()
    with running(app, pool="threads", concurrency=2) as worker:
        assert gate.running.wait(10)
        worker.stop()
        wait.delay()
        worker.wait_until_stopped(0.3)
        gate.go_on.set()
        assert worker.wait_until_stopped(10)
    events.broker_lost.disconnect(receiver)

    assert not lost
    assert not seen(caplog, "watchdog")


def test_a_run_between_the_queue_of_the_pool_and_its_start_is_waited_for(app, wait, gate, monkeypatch):
    """A warm stop in this moment took it for idle, and abandoned the task after five seconds."""
    from celeriac.runtime.inflight import Inflight  # noqa: PLC0415  only this test looks inside

    app.conf.broker_timeout_seconds = 0.1
    between, go_on = threading.Event(), threading.Event()
    started = Inflight.started

    def late(self, key):
        between.set()
        assert go_on.wait(10)
        started(self, key)

    monkeypatch.setattr(Inflight, "started", late)
    result = wait.delay()
    with running(app, pool="threads", concurrency=1) as worker:
        assert between.wait(10)
        worker.stop()
        assert not worker.wait_until_stopped(0.5)
        go_on.set()
        gate.go_on.set()
        assert worker.wait_until_stopped(10)

    assert result.get(timeout=5) == "ended"


def test_a_step_that_does_not_stop_cleanly_is_told_and_the_others_stop(app, caplog):
    class Rude(Step):
        name = "rude"

        def start(self, boot: Boot) -> None:
            boot.defer(lambda: 1 / 0)

    app.steps["worker"].add(Rude)
    with running(app):
        pass

    (record,) = seen(caplog, "unwind_failed")
    assert record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_a_defect_in_the_stop_does_not_keep_what_was_started_from_stopping(app, monkeypatch, caplog):
    from celeriac_threads.pool import ThreadsPool  # noqa: PLC0415  only this test looks inside

    worker = Worker(app, pool="threads", concurrency=1)
    monkeypatch.setattr(ThreadsPool, "_drain", lambda _: 1 / 0)
    worker.stop()

    assert worker.run() == 1
    assert seen(caplog, "shutdown_failed")
    assert not [thread for thread in threading.enumerate() if thread.name in ("celeriac-consumer", "celeriac-settler")]


def test_a_task_acknowledged_first_outlives_a_lapse_of_the_lease(app, faults, gate, transport):
    """No lease covers it any more: to forget it with the others would lose it."""
    app.conf.broker_transport_options = {"lease_seconds": 1.0}
    app.conf.worker_prefetch_multiplier = 10
    ran = []
    lapsed = threading.Event()
    receiver = events.lease_lost.connect(lambda sender, held: lapsed.set())

    @app.task(acks_late=False)
    def once(n):
        ran.append(n)
        gate.pass_through()
        return n

    results = [once.delay(n) for n in range(3)]
    faults.delay("renew", 1.5, 1)
    with running(app, pool="threads", concurrency=1):
        assert gate.running.wait(10)
        assert lapsed.wait(10)
        gate.go_on.set()
        assert [result.get(timeout=10) for result in results] == [0, 1, 2]
    events.lease_lost.disconnect(receiver)

    assert sorted(ran) == [0, 1, 2]


def test_a_task_may_close_its_app(app, broker):
    """The worker's connections are its own."""

    @app.task(name="close")
    def close():
        app.close()
        return "closed"

    with Celeriac("client", broker=broker, backend=broker, set_as_current=False) as client, running(app):
        for _ in range(2):
            assert client.send_task("close").get(timeout=10) == "closed"


def test_a_large_result_comes_back_whole(app):
    @app.task
    def large():
        return "x" * (3 << 20)

    with running(app):
        assert len(large.delay().get(timeout=20)) == 3 << 20


def test_a_multiplier_of_zero_holds_what_there_is(app, wait, gate, transport):
    for _ in range(50):
        wait.delay()

    with running(app, pool="threads", concurrency=1, prefetch_multiplier=0):
        eventually(lambda: depth(transport).held == 50, "all are held")
        gate.go_on.set()
        eventually(lambda: depth(transport).held == 0, "all have run")


def test_a_handler_that_raises_system_exit_ends_neither_task_nor_worker(app):
    class Leaving(app.Task):
        def on_failure(self, *_):
            raise SystemExit(1)

    @app.task(base=Leaving)
    def fail():
        raise ValueError("no")

    with running(app):
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                fail.delay().get(timeout=10)


PROGRAM = """
import os, signal, sys, time
from celeriac import Celeriac
from celeriac.kernel.steps import Step
from celeriac.runtime.worker import Worker

app = Celeriac("proj", broker=sys.argv[2], backend=sys.argv[2])

def say(text):
    os.write(1, (text + "\\n").encode())

@app.task(name="fork")
def fork(how):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b".")
        if how == "wait":
            time.sleep(10)
        return "the child's"
    os.read(reader, 1)  # it runs: what came earlier Python would drop
    if how == "wait":
        os.kill(child, signal.SIGTERM)
    ended = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(ended)

class Slow(Step):
    name = "slow"
    def start(self, boot):
        say("booting")
        time.sleep(float(sys.argv[3]))

if sys.argv[3:]:
    app.steps["worker"].add(Slow)
worker = Worker(app, pool=sys.argv[1], concurrency=1)
sys.exit(worker.run(handle_signals=True))
"""


@pytest.fixture
def program(tmp_path):
    """Start a worker program on a database of its own; it is killed at the end if it still runs."""
    url = f"sqlite:///{tmp_path / 'program.db'}"
    processes = []

    def begin(pool, *arguments):
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, pool, url, *arguments]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    begin.url = url
    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def client(program):
    with Celeriac("client", broker=program.url, backend=program.url, set_as_current=False) as app:
        yield app


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("pool", ["solo", "threads"])
@pytest.mark.parametrize(("how", "code"), [("wait", -signal.SIGTERM), ("return", 0)])
def test_a_process_that_a_task_forked_is_not_the_worker(program, client, pool, how, code):
    process = program(pool)

    assert client.send_task("fork", (how,)).get(timeout=20) == code
    assert client.send_task("fork", (how,)).get(timeout=20) == code
    assert process.poll() is None


def test_a_signal_during_the_boot_stops_in_order(program):
    process = program("threads", "0.5")
    assert process.stdout.readline() == "booting\n"

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0


def test_a_cold_stop_ends_a_boot_that_does_not_end(program):
    process = program("threads", "60")
    assert process.stdout.readline() == "booting\n"

    process.send_signal(signal.SIGQUIT)

    assert process.wait(20) == 1
