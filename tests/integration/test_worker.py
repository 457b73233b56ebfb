"""How a worker starts, takes, hands back and stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from running import eventually, running

from celeriac import Celeriac, events
from celeriac.errors import MissingNeed, Unsupported
from celeriac.kernel.steps import Boot, Key, Step
from celeriac.model.routing import Exchange, Queue
from celeriac.runtime.worker import Worker


@pytest.fixture
def gate():
    """A task's way to say that it runs, and to wait until it may go on."""

    class Gate:
        running = threading.Event()
        go_on = threading.Event()

        def pass_through(self):
            self.running.set()
            assert self.go_on.wait(20)

    gate = Gate()
    gate.running, gate.go_on = threading.Event(), threading.Event()
    yield gate
    gate.go_on.set()


def depth(transport, queue="celery"):
    return transport.depths([queue], timeout=5)[0]


def test_a_warm_stop_ends_what_runs_and_hands_back_the_rest_uncounted(app, transport, gate):
    app.conf.worker_prefetch_multiplier = 10

    @app.task
    def wait():
        gate.pass_through()
        return "ended"

    first = wait.delay()
    for _ in range(5):
        wait.delay()
    with running(app) as worker:
        assert gate.running.wait(10)
        eventually(lambda: depth(transport).held == 6, "all are held")

        worker.stop("warm")
        eventually(lambda: depth(transport).waiting == 5, "the rest is handed back")
        assert depth(transport).held == 1
        gate.go_on.set()
        assert worker.wait_until_stopped(10)

    assert first.get(timeout=5) == "ended"
    taken = transport.receive(["celery"], limit=10, timeout=1)
    assert [delivery.deliveries for delivery in taken] == [1] * 5


def test_a_cold_stop_hands_back_what_runs_counted(app, transport, gate):
    @app.task
    def wait():
        gate.pass_through()

    wait.delay()
    with running(app, pool="threads", concurrency=1) as worker:
        assert gate.running.wait(10)

        worker.stop("cold")
        assert worker.wait_until_stopped(10)

    (delivery,) = transport.receive(["celery"], limit=10, timeout=1)
    assert delivery.deliveries == 2


def test_a_soft_stop_waits_its_time_and_turns_cold(app, transport, gate):
    app.conf.worker_soft_shutdown_timeout = 0.3

    @app.task
    def wait():
        gate.pass_through()

    wait.delay()
    with running(app, pool="threads", concurrency=1) as worker:
        assert gate.running.wait(10)

        began = time.monotonic()
        worker.stop("soft")
        assert worker.wait_until_stopped(10)
        took = time.monotonic() - began

    assert took >= 0.3
    assert depth(transport).waiting == 1


def test_a_second_stop_goes_one_step_further(app, transport, gate):
    @app.task
    def wait():
        gate.pass_through()

    wait.delay()
    with running(app, pool="threads", concurrency=1) as worker:
        assert gate.running.wait(10)

        worker.stop()
        assert not worker.wait_until_stopped(0.2)
        worker.stop()
        assert worker.wait_until_stopped(10)

    assert depth(transport).waiting == 1


def test_what_waits_behind_a_long_task_is_handed_to_an_idle_worker(app, transport, gate):
    app.conf.worker_prefetch_multiplier = 100

    @app.task
    def wait():
        gate.pass_through()

    @app.task
    def quick(n):
        return n

    wait.delay()
    results = [quick.delay(n) for n in range(20)]
    with running(app, hostname="busy@box"):
        assert gate.running.wait(10)
        eventually(lambda: depth(transport).waiting == 20, "what waits is handed back")
        with running(app, hostname="idle@box"):
            assert [result.get(timeout=10) for result in results] == list(range(20))
            gate.go_on.set()


def test_queues_are_chosen_by_name(app):
    app.conf.task_queues = {"fast": {}, "slow": {}}
    app.conf.task_routes = {"slow.*": "slow"}
    ran = []

    @app.task(name="slow.one")
    def slow():
        ran.append("slow")

    @app.task(name="fast.one", queue="fast")
    def fast():
        ran.append("fast")
        return "fast"

    slow.delay()
    with running(app, queues=["fast"]):
        assert fast.delay().get(timeout=10) == "fast"

    assert ran == ["fast"]


def test_topic_and_fanout_exchanges_deliver_by_their_rules(app, transport):
    events_exchange, all_exchange = Exchange("events", "topic"), Exchange("all", "fanout")
    app.conf.task_queues = [
        Queue("users", events_exchange, "user.#"),
        Queue("audit", events_exchange, "#"),
        Queue("one", all_exchange),
        Queue("two", all_exchange),
    ]

    @app.task
    def note():
        pass

    note.apply_async(exchange="events", routing_key="user.created")
    note.apply_async(exchange="events", routing_key="order.created")
    note.apply_async(exchange="all", routing_key="whatever")

    waiting = {depth.queue: depth.waiting for depth in transport.depths(timeout=5)}
    assert (waiting["users"], waiting["audit"], waiting["one"], waiting["two"]) == (1, 2, 1, 1)


def test_a_purge_at_the_start_empties_the_queues(app, transport):
    ran = []

    @app.task
    def note(n):
        ran.append(n)
        return n

    note.delay(1)
    with running(app, purge=True):
        assert note.delay(2).get(timeout=10) == 2

    assert ran == [2]


def test_a_time_limit_that_the_pool_cannot_keep_is_refused_at_the_start(app):
    @app.task(time_limit=10)
    def limited():
        pass

    with pytest.raises(Unsupported, match="time_limit"):
        Worker(app, pool="solo").run()


def test_a_limit_that_a_call_asks_for_and_the_pool_cannot_keep_is_told_once(app, caplog):
    @app.task
    def work():
        return "done"

    with running(app):
        results = [work.apply_async(time_limit=10) for _ in range(3)]
        assert [result.get(timeout=10) for result in results] == ["done"] * 3

    told = [record for record in caplog.records if getattr(record, "event", "") == "limits_not_kept"]
    assert len(told) == 1


def test_a_user_s_step_runs_with_the_worker(app):
    told = []

    class Hello(Step):
        name = "hello"

        def start(self, boot: Boot) -> None:
            told.append("hello")
            boot.defer(lambda: told.append("goodbye"))

    app.steps["worker"].add(Hello)
    with running(app):
        assert told == ["hello"]

    assert told == ["hello", "goodbye"]


def test_a_step_whose_need_nobody_provides_is_refused_before_anything_starts(app):
    class Lonely(Step):
        name = "lonely"
        needs = (Key("friend"),)

        def start(self, boot: Boot) -> None:
            raise AssertionError

    app.steps["consumer"].add(Lonely)

    with pytest.raises(MissingNeed, match="friend"):
        Worker(app, pool="solo")


def test_events_tell_the_life_of_a_worker_and_of_a_task(app):
    told = []
    watched = ["worker_init", "worker_ready", "task_received", "task_prerun", "task_success", "task_postrun",
               "task_settled", "worker_shutting_down", "worker_shutdown"]  # fmt: skip
    receivers = {name: lambda sender, _name=name, **fields: told.append(_name) for name in watched}

    @app.task
    def work():
        return 1

    for name, receiver in receivers.items():
        events.EVENTS[name].connect(receiver)
    try:
        with running(app):
            work.delay().get(timeout=10)
            eventually(lambda: "task_settled" in told, "the last event of the task")
    finally:
        for name, receiver in receivers.items():
            events.EVENTS[name].disconnect(receiver)

    assert told == watched


def test_a_worker_leaves_no_thread_and_no_descriptor(broker, tmp_path):
    def count():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    with Celeriac("proj", broker=broker, backend=broker, set_as_current=False) as app:

        @app.task
        def work():
            return 1

        with running(app):
            work.delay().get(timeout=10)
        app.close()
        before = count()
        for _ in range(5):
            with running(app, pool="threads", concurrency=4):
                work.delay().get(timeout=10)
            app.close()

    eventually(lambda: count() <= before, "everything is given back")


PROGRAM = """
import sys, time
from celeriac import Celeriac
app = Celeriac("prog", broker=sys.argv[1])
@app.task(name="sleep")
def sleep(seconds):
    print("running", flush=True)
    time.sleep(seconds)
    return "slept"
if __name__ == "__main__":
    from celeriac.runtime.worker import Worker
    worker = Worker(app, pool=sys.argv[2], concurrency=1)
    from celeriac import events
    events.worker_ready.connect(lambda **_: print("ready", flush=True))
    raise SystemExit(worker.run(handle_signals=True))
"""


@pytest.fixture
def program(tmp_path):
    """Start a worker process on a database of its own; the test reads what it prints."""
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    started = []

    def start(pool):
        process = subprocess.Popen([sys.executable, str(path), url, pool], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    with Celeriac("prog", broker=url, set_as_current=False) as app:
        start.app = app
        yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_sigterm_lets_the_running_task_end(program, pool):
    process = program(pool)
    result = program.app.send_task("sleep", (0.5,))
    assert process.stdout.readline() == "running\n"

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0
    assert result.get(timeout=5) == "slept"


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_sigquit_abandons_the_running_task_and_hands_it_back(program, pool):
    process = program(pool)
    program.app.send_task("sleep", (60,))
    assert process.stdout.readline() == "running\n"

    process.send_signal(signal.SIGQUIT)

    assert process.wait(20) == 1
    assert program.app.connections.transport().depths(["celery"], timeout=5)[0].waiting == 1


def test_a_third_interrupt_ends_a_worker_that_a_task_holds(program):
    process = program("solo")
    program.app.send_task("sleep", (60,))
    assert process.stdout.readline() == "running\n"

    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)  # signals of one kind that arrive together are one signal to the kernel

    assert process.wait(20) == 1


def test_a_stop_gives_back_what_was_acknowledged_first_and_has_not_run(app, transport, gate):
    app.conf.worker_prefetch_multiplier = 10
    ran = []

    @app.task(acks_late=False)
    def wait(n):
        ran.append(n)
        gate.pass_through()
        return n

    results = [wait.delay(n) for n in range(5)]
    with running(app) as worker:
        assert gate.running.wait(10)
        eventually(lambda: depth(transport).held + depth(transport).waiting == 0, "all are acknowledged")

        worker.stop("warm")
        eventually(lambda: depth(transport).waiting == 4, "the rest is published anew")
        gate.go_on.set()
        assert worker.wait_until_stopped(10)
    with running(app):
        assert [result.get(timeout=10) for result in results] == list(range(5))

    assert sorted(ran) == list(range(5))
