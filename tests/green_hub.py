"""What every hub, and every pool of greenlets over one, must do even in a process that is not patched."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from celeriac.greenlets.hub import Hub
from celeriac.greenlets.pool import GreenPool
from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac.spi.pool import Killed, PoolContext
from celeriac.testing.contracts.pool_tasks import failed as failed_outcome

PATIENCE = 10.0
ROOT = Path(__file__).parent.parent


class HubTests:
    """Subclasses give the fixture `hub`."""

    def test_a_parked_greenlet_goes_on_when_it_is_resumed(self, hub: Hub) -> None:
        told: list[str] = []

        def parks() -> None:
            told.append("parks")
            hub.park()
            told.append("goes on")

        greenlet = hub.spawn(parks)
        hub.pause()
        before = list(told)
        hub.resume(greenlet)
        wait(hub, lambda: greenlet.dead)

        assert (before, told) == (["parks"], ["parks", "goes on"])

    def test_a_pause_lets_everybody_else_have_a_turn(self, hub: Hub) -> None:
        told: list[int] = []
        for number in range(3):
            hub.spawn(lambda number=number: told.append(number))

        hub.pause()

        assert told == [0, 1, 2]

    def test_a_call_happens_later_unless_it_is_cancelled(self, hub: Hub) -> None:
        told: list[str] = []
        hub.call_later(0.01, lambda: told.append("this"))
        other = hub.call_later(0.005, lambda: told.append("that"))

        other.cancel()
        wait(hub, lambda: told)
        other.cancel()

        assert told == ["this"]

    def test_an_error_is_raised_in_the_greenlet_that_asked_for_it_unless_it_is_cancelled(self, hub: Hub) -> None:
        def asks() -> None:
            hub.raise_later(0.001, AssertionError("cancelled")).cancel()
            hub.raise_later(0.01, LookupError("too late"))
            try:
                hub.sleep(PATIENCE)
            except LookupError as error:
                told.append(error)

        told: list[LookupError] = []
        greenlet = hub.spawn(asks)
        wait(hub, lambda: greenlet.dead)

        assert [str(error) for error in told] == ["too late"]

    def test_a_greenlet_is_killed_where_it_waits_and_one_that_has_ended_is_left_alone(self, hub: Hub) -> None:
        told: list[BaseException] = []

        def waits() -> None:
            try:
                hub.sleep(PATIENCE)
            except BaseException as error:
                told.append(error)
                raise

        greenlet = hub.spawn(waits)
        hub.pause()
        hub.kill(greenlet)
        wait(hub, lambda: greenlet.dead)
        hub.kill(greenlet)
        hub.pause()

        assert [isinstance(error, Killed) for error in told] == [True]

    def test_only_the_greenlet_that_runs_has_no_frame(self, hub: Hub) -> None:
        frames: list[Any] = []
        waiting = hub.spawn(lambda: hub.sleep(0.05))
        hub.pause()

        running = hub.spawn(lambda: frames.append((running.gr_frame, waiting.gr_frame)))
        wait(hub, lambda: frames)

        ((own, other),) = frames
        assert own is None
        assert other is not None
        wait(hub, lambda: waiting.dead)

    def test_originals_are_those_of_the_standard_library(self, hub: Hub) -> None:
        assert hub.original("_thread", "allocate_lock")().acquire(timeout=1)
        assert hub.original("os", "posix_spawn").__module__ == "posix"


class PoolTests:
    """Subclasses give the fixture `pool_class`, a pool that does not ask for the patch."""

    @pytest.fixture
    def bench(self, pool_class):
        bench = Bench(pool_class)
        yield bench
        bench.pool.stop(PATIENCE)

    def test_slots_are_made_as_they_are_needed_and_used_again(self, bench) -> None:
        bench.start(1000)

        for key in range(50):
            bench.submit([key])
            bench.wait_for(key + 1)

        assert len(bench.pool._slots) == 1

    def test_outcomes_that_come_together_are_reported_together(self, bench) -> None:
        bench.start(100)

        bench.submit(range(100))
        bench.wait_for(100)

        assert len(bench.reports) < 50

    def test_what_never_waits_lets_others_have_turns(self, bench) -> None:
        turns: list[float] = []
        bench.execute = lambda _: spin(0.001)
        bench.start(4)
        bench.submit(range(200))

        while len(bench.outcomes) < 200:
            turns.append(time.monotonic())
            bench.pool.hub.pause()

        assert len(turns) > 10

    def test_a_report_that_fails_is_logged_and_the_next_ones_come(self, bench, caplog) -> None:
        bench.on_report = lambda outcomes: 1 // (outcomes[0].key - 1)
        bench.start(1)

        with caplog.at_level(logging.ERROR, "celeriac.greenlets.pool"):
            bench.submit([1])
            wait(bench.pool.hub, lambda: bench.reports)
            bench.submit([2])
            bench.wait_for(2)

        assert [record.keys for record in caplog.records if record.event == "report_failed"] == [[1]]

    def test_a_subscriber_that_fails_at_the_start_fails_that_run_only(self, bench) -> None:
        bench.on_started = lambda request: 1 // (request.key - 1)
        bench.start(1)

        bench.submit([1, 2])
        bench.wait_for(2)

        assert {outcome.key: outcome.state for outcome in bench.outcomes} == {1: FAILURE, 2: SUCCESS}

    def test_an_end_whose_outcome_cannot_be_made_is_handed_back_by_the_stop(self, bench, caplog) -> None:
        bench.execute = lambda _: bench.pool.hub.sleep(PATIENCE)
        bench.failed = lambda request, error: 1 // 0
        bench.start(1)
        bench.submit([1])
        wait(bench.pool.hub, bench.pool.running)

        assert bench.pool.terminate(1)
        wait(bench.pool.hub, lambda: caplog.records)

        assert [request.key for request in bench.pool.stop(0.05)] == [1]

    def test_a_worker_with_too_many_greenlets_that_do_not_end_retires(self, bench) -> None:
        bench.execute = lambda _: never_ends(bench.pool.hub, lambda: bench.over)
        bench.start(1, stuck_limit=2)
        bench.submit([1, 2, 3])

        for key in (1, 2, 3):
            before = list(bench.retired)
            wait(bench.pool.hub, lambda key=key: bench.pool.terminate(key))
            bench.wait_for(key)
        wait(bench.pool.hub, lambda: bench.retired)
        bench.over = True

        assert before == []
        assert bench.retired == ["3 tasks that were given up do not end"]

    def test_a_slot_that_ends_while_it_is_roused_leaves_the_work_to_another(self, bench) -> None:
        bench.execute = lambda _: bench.pool.hub.sleep(0.001)
        bench.start(8)
        bench.submit(range(8))
        bench.wait_for(8)

        for size in (1, 8, 2, 1):
            bench.pool.resize(size)
            bench.submit(range(100 * size, 100 * size + 20))
            bench.pool.hub.pause()
        bench.wait_for(8 + 80)

        assert len(bench.pool._slots) == 1


class Bench:
    """A pool, what is done in it, and what it reports."""

    pool: GreenPool

    def __init__(self, pool_class: type[GreenPool]) -> None:
        self.pool_class = pool_class
        self.reports: list[list[Outcome]] = []
        self.execute: Any = lambda _: None
        self.failed: Any = failed_outcome
        self.on_started: Any = lambda _: None
        self.on_report: Any = lambda _: None
        self.retired: list[str] = []
        self.over = False

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for report in self.reports for outcome in report]

    def start(self, slots: int, **options: Any) -> None:
        context = PoolContext(
            execute=self._execute,
            failed=self.failed,
            report=self._report,
            started=self.on_started,
            retire=self.retired.append,
            options=options,
        )
        self.pool = self.pool_class(slots, context)
        self.pool.start()

    def submit(self, keys) -> None:
        nothing = Message(body=b"", routing_key="celery")
        fields = {"task": "t", "id": "", "message": nothing, "queue": "celery", "deliveries": 1, "received": 0.0}
        self.pool.submit([Request(key=key, **fields) for key in keys])

    def wait_for(self, count: int) -> None:
        wait(self.pool.hub, lambda: len(self.outcomes) >= count)

    def _execute(self, request: Request) -> Outcome:
        self.execute(request)
        return Outcome(key=request.key, state=SUCCESS)

    def _report(self, outcomes) -> None:
        self.reports.append(list(outcomes))
        self.on_report(outcomes)


def wait(hub: Hub, condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        hub.sleep(0.001)


def never_ends(hub: Hub, over) -> None:
    while not over():
        try:
            hub.sleep(0.01)
        except Killed:
            continue


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def imported_by(statement: str, module: str) -> bool:
    """Return whether a statement makes a fresh interpreter import a module."""
    code = f"import sys\n{statement}\nprint({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout == "True\n"


def passes(scenarios: Path) -> None:
    """Run a file of tests in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", str(scenarios)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
