from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence

import pytest

from celeriac.errors import InternalError, Unsupported
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_rig import failed as failed_outcome
from celeriac_solo.pool import SoloPool

NOTHING = Message(body=b"", routing_key="celery")


def request(key: int) -> Request:
    return Request(key=key, task="t", id=str(key), message=NOTHING, queue="celery", deliveries=1, received=0.0)


class Bench:
    """A solo pool whose reports end up in a list."""

    def __init__(self, task: Callable[[Request], object] = lambda _: None) -> None:
        self.events: list[tuple[str, int]] = []
        self.outcomes: list[Outcome] = []
        self.on_report: Callable[[], object] = lambda: None
        self.task = task
        self.pool = SoloPool(
            1, PoolContext(execute=self.execute, failed=failed_outcome, report=self.report, started=self.started)
        )
        self.pool.start()

    def execute(self, request: Request) -> Outcome:
        self.task(request)
        return Outcome(key=request.key, state=SUCCESS)

    def started(self, request: Request) -> None:
        self.events.append(("started", request.key))

    def report(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes
        self.events += [("outcome", outcome.key) for outcome in outcomes]
        self.on_report()


@pytest.mark.parametrize("concurrency", [0, 2])
def test_a_concurrency_other_than_one_is_refused(concurrency: int) -> None:
    context = PoolContext(
        execute=lambda r: Outcome(key=r.key, state=SUCCESS), failed=failed_outcome, report=print, started=print
    )

    with pytest.raises(Unsupported, match=f"a concurrency of {concurrency}"):
        SoloPool(concurrency, context)


def test_tasks_run_in_the_thread_that_calls_serve_and_are_reported_one_by_one() -> None:
    threads = []
    bench = Bench(lambda _: threads.append(threading.current_thread()))
    bench.pool.submit([request(1), request(2)])
    bench.on_report = lambda: bench.pool.interrupt() if len(bench.outcomes) == 2 else None

    bench.pool.serve()

    assert threads == [threading.current_thread()] * 2
    assert bench.events == [("started", 1), ("outcome", 1), ("started", 2), ("outcome", 2)]


def test_interrupt_leaves_what_waits_to_drain_or_stop() -> None:
    bench = Bench()
    bench.pool.submit([request(1), request(2), request(3)])
    bench.on_report = bench.pool.interrupt

    bench.pool.serve()
    bench.pool.submit([request(4)])

    assert bench.events == [("started", 1), ("outcome", 1)]
    assert [r.key for r in bench.pool.drain()] == [2, 3, 4]


def test_serve_returns_at_once_after_an_interrupt_that_came_before() -> None:
    bench = Bench()
    bench.pool.submit([request(1)])
    bench.pool.interrupt()

    bench.pool.serve()

    assert bench.events == []
    assert [r.key for r in bench.pool.stop(0)] == [1]


def test_a_signal_handler_can_interrupt_a_pool_that_waits_for_work() -> None:
    bench = Bench()
    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, lambda *_: bench.pool.interrupt())
    sender = threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGUSR1))
    sender.start()

    bench.pool.serve()

    sender.join()
    signal.signal(signal.SIGUSR1, before)
    assert bench.pool.stop(0) == []


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_an_exit_leaves_through_serve_and_stop_returns_the_request(leaving: type[BaseException]) -> None:
    def exits(_: Request) -> None:
        raise leaving

    bench = Bench(exits)
    bench.pool.submit([request(1), request(2)])

    with pytest.raises(leaving):
        bench.pool.serve()

    assert [r.key for r in bench.pool.stop(None)] == [1, 2]
    assert bench.outcomes == []


def test_a_defect_of_the_executor_fails_that_run_and_no_other() -> None:
    def breaks_first(request: Request) -> None:
        if request.key == 1:
            raise ZeroDivisionError("a defect")

    bench = Bench(breaks_first)
    bench.pool.submit([request(1), request(2)])
    bench.on_report = lambda: bench.pool.interrupt() if len(bench.outcomes) == 2 else None

    bench.pool.serve()

    failed, succeeded = bench.outcomes
    assert (failed.key, failed.state, failed.action) == (1, FAILURE, Action.DEAD)
    assert "a defect" in failed.error
    assert succeeded.state == SUCCESS


def test_a_second_stop_does_not_wait_for_the_run_that_the_first_one_gave_up() -> None:
    entered, release = threading.Event(), threading.Event()

    def waits(_: Request) -> None:
        entered.set()
        release.wait()

    bench = Bench(waits)
    server = threading.Thread(target=bench.pool.serve)
    server.start()
    bench.pool.submit([request(1)])
    entered.wait()

    first, second = bench.pool.stop(0), bench.pool.stop(None)

    release.set()
    server.join()
    assert [r.key for r in first] == [1]
    assert second == []
    assert bench.outcomes == []


def test_a_stopped_pool_refuses_requests_instead_of_losing_them() -> None:
    bench = Bench()
    bench.pool.stop(None)

    with pytest.raises(InternalError, match="1 requests"):
        bench.pool.submit([request(1)])
