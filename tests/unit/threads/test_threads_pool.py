from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Queue

import pytest

from celeriac.errors import InternalError
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_rig import failed as failed_outcome
from celeriac_threads.pool import ThreadsPool

NOTHING = Message(body=b"", routing_key="celery")
PATIENCE = 10


def request(key: int) -> Request:
    return Request(key=key, task="t", id=str(key), message=NOTHING, queue="celery", deliveries=1, received=0.0)


class Bench:
    """A pool of threads whose reports end up in a queue."""

    def __init__(self, concurrency: int = 1) -> None:
        self.outcomes: Queue[Outcome] = Queue()
        self.execute: Callable[[Request], object] = lambda _: None
        self.on_started: Callable[[Request], object] = lambda _: None
        self.on_report: Callable[[Sequence[Outcome]], object] = lambda _: None
        context = PoolContext(execute=self._execute, failed=failed_outcome, report=self._report, started=self._started)
        self.pool = ThreadsPool(concurrency, context)

    def _started(self, request: Request) -> None:
        self.on_started(request)

    def _execute(self, request: Request) -> Outcome:
        self.execute(request)
        return Outcome(key=request.key, state=SUCCESS)

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self.outcomes.put(outcome)
        self.on_report(outcomes)

    def next(self) -> Outcome:
        return self.outcomes.get(timeout=PATIENCE)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.pool.start()
    yield bench
    bench.pool.stop(PATIENCE)


def test_threads_are_named_and_do_not_keep_the_process_from_exiting() -> None:
    bench = Bench(concurrency=2)
    threads: Queue[threading.Thread] = Queue()
    both = threading.Barrier(2, timeout=PATIENCE)

    def tells_its_thread(_: Request) -> None:
        threads.put(threading.current_thread())
        both.wait()

    bench.execute = tells_its_thread
    bench.pool.start()

    bench.pool.submit([request(1), request(2)])
    bench.next(), bench.next()
    bench.pool.stop(PATIENCE)

    seen = [threads.get(), threads.get()]
    assert {thread.name for thread in seen} == {"celeriac-threads-1", "celeriac-threads-2"}
    assert all(thread.daemon for thread in seen)


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_whatever_a_task_raises_fails_its_run_and_keeps_the_slot(bench: Bench, leaving: type[BaseException]) -> None:
    def leaves(request: Request) -> None:
        if request.key == 1:
            raise leaving("on its way out")

    bench.execute = leaves

    bench.pool.submit([request(1), request(2)])

    failed, succeeded = bench.next(), bench.next()
    assert (failed.key, failed.state, failed.action) == (1, FAILURE, Action.DEAD)
    assert "on its way out" in failed.error
    assert (succeeded.key, succeeded.state) == (2, SUCCESS)


def test_a_subscriber_that_fails_at_the_start_fails_that_run_only(bench: Bench) -> None:
    bench.on_started = lambda r: 1 // (r.key - 1)

    bench.pool.submit([request(1), request(2)])

    assert bench.next().state == FAILURE
    assert bench.next().state == SUCCESS


def test_a_report_that_fails_is_logged_and_keeps_the_slot(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.on_report = lambda outcomes: 1 // (outcomes[0].key - 1)

    with caplog.at_level(logging.ERROR, "celeriac_threads.pool"):
        bench.pool.submit([request(1), request(2)])
        keys = [bench.next().key, bench.next().key]

    assert keys == [1, 2]
    assert [record.__dict__["event"] for record in caplog.records] == ["report_failed"]


def test_a_second_stop_does_not_wait_for_the_run_that_the_first_one_gave_up(bench: Bench) -> None:
    entered, release = threading.Event(), threading.Event()

    def waits(_: Request) -> None:
        entered.set()
        release.wait()

    bench.execute = waits
    bench.pool.submit([request(1)])
    entered.wait(PATIENCE)

    first, second = bench.pool.stop(0), bench.pool.stop(None)

    release.set()
    assert [r.key for r in first] == [1]
    assert second == []


def test_a_stopped_pool_refuses_requests_instead_of_losing_them(bench: Bench) -> None:
    bench.pool.stop(None)

    with pytest.raises(InternalError, match="1 requests"):
        bench.pool.submit([request(1)])


def test_a_stop_at_its_deadline_waits_out_a_report_that_has_begun(bench: Bench) -> None:
    reporting, go_on = threading.Event(), threading.Event()

    def slow_report(_: Sequence[Outcome]) -> None:
        reporting.set()
        go_on.wait(PATIENCE)

    bench.on_report = slow_report
    bench.pool.submit([request(1)])
    reporting.wait(PATIENCE)
    answers: Queue[list[Request]] = Queue()
    stopping = threading.Thread(target=lambda: answers.put(bench.pool.stop(0)))

    stopping.start()
    stopping.join(0.02)
    waited = stopping.is_alive()
    go_on.set()

    assert waited
    assert answers.get(timeout=PATIENCE) == []


MORE_THAN_FIT = """
import resource, threading
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
threading.stack_size(300 << 20)
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_rig import failed as failed_outcome
from celeriac_threads.pool import ThreadsPool
pool = ThreadsPool(8, PoolContext(execute=print, failed=print, report=print, started=print))
try:
    pool.start()
except RuntimeError as error:
    print(error, threading.active_count())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_a_start_for_which_there_is_no_room_ends_the_threads_it_began() -> None:
    run = subprocess.run([sys.executable, "-c", MORE_THAN_FIT], capture_output=True, text=True, timeout=20, check=True)

    assert run.stdout == "can't start new thread 1\n"
