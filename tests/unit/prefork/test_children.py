"""What tasks may do to their process, and what they find there."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefork_bench import Bench, bench, children_of, descriptors, started
from running import eventually

from celeriac import events
from celeriac.errors import ConfigurationError, SoftTimeLimitExceeded
from celeriac.model.outcome import Outcome
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac_prefork.slots import FRAME_LIMIT


def close_everything(_: Request) -> None:
    os.closerange(3, 4096)


def close_everything_and_open_others(_: Request) -> None:
    os.closerange(3, 4096)
    for _place in range(20):
        os.open(os.devnull, os.O_RDWR)


@pytest.mark.parametrize("close", [close_everything, close_everything_and_open_others])
def test_a_task_that_closes_all_descriptors_brings_its_outcome_and_the_next_runs_elsewhere(
    close: Callable[[Request], None],
) -> None:
    with bench(close=close) as pool:
        first = pool.result("pid")

        pool.result("close")

        assert pool.result("pid") != first


def test_the_copy_of_a_process_that_a_task_forked_and_that_comes_back_does_nothing(tmp_path: Path) -> None:
    def fork(_: Request) -> str:
        if os.fork() == 0:
            return "copy"
        os.wait()
        return "original"

    with bench(fork=fork) as pool:
        assert [pool.result("fork") for _ in range(3)] == ["original"] * 3
        assert pool.result("quick") == ""


def test_a_process_that_a_task_left_behind_holds_nothing_up(tmp_path: Path) -> None:
    def leave(_: Request) -> str:
        if os.fork() == 0:
            while tmp_path.exists() and not (tmp_path / "end").exists():
                time.sleep(0.01)
            os._exit(0)
        return ""

    with bench(leave=leave) as pool:
        pool.result("leave")
        pool.run("quick", 100)
        pool.wait_all()
        begun = time.monotonic()
        pool.stop(None)

        assert time.monotonic() - begun < 4
    (tmp_path / "end").touch()


def test_threads_of_a_task_and_noise_do_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    def noise(_: Request) -> str:
        threading.Thread(target=time.sleep, args=(60,)).start()
        for _line in range(200):
            os.write(1, b"x" * 10_000)
        return str(threading.active_count())

    with bench(noise=noise) as pool:
        assert int(pool.result("noise")) >= 2
        assert pool.result("quick") == ""

    assert len(capfd.readouterr().out) >= 2_000_000


def test_a_task_finds_a_process_of_its_own_name_and_fate() -> None:
    def look(_: Request) -> str:
        made = logging.LogRecord("n", 20, "p", 1, "m", (), None)
        return repr(
            (
                made.processName,
                signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
                signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
                signal.set_wakeup_fd(-1),
                sys.stdin.read(),
                signal.pthread_sigmask(signal.SIG_BLOCK, []),
            )
        )

    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with bench(2, look=look) as pool:
            seen = {pool.result("look") for _ in range(4)}
    finally:
        signal.signal(signal.SIGTERM, previous)

    allowed = {f"('ForkPoolWorker-{number}', True, True, -1, '', set())" for number in (1, 2)}
    assert seen <= allowed


def test_what_was_there_at_the_fork_is_left_to_share_and_the_rest_is_collected() -> None:
    with bench(look=lambda _: f"{gc.isenabled()} {gc.get_freeze_count() > 1000}") as pool:
        assert pool.result("look") == "True True"


def test_children_draw_different_random_numbers(tmp_path: Path) -> None:
    random.seed(1)

    def draw(_: Request) -> str:
        (tmp_path / str(os.getpid())).touch()
        eventually(lambda: len(list(tmp_path.iterdir())) == 2, "the other child draws too")
        return f"{os.getpid()} {random.random()}"

    with bench(2, draw=draw) as pool:
        requests = pool.run("draw", 2)
        drawn = {tuple(pool.outcome(each).reason.split()) for each in requests}

    assert len({number for _, number in drawn}) == len({pid for pid, _ in drawn}) == 2


def test_receivers_are_told_of_the_start_and_the_end_of_each_child(tmp_path: Path) -> None:
    def begun(**_: Any) -> None:
        (tmp_path / f"begun-{os.getpid()}").touch()

    def ended(*, pid: int, exitcode: int, **_: Any) -> None:
        (tmp_path / f"ended-{pid}-{exitcode}").touch()

    events.worker_process_init.connect(begun)
    events.worker_process_shutdown.connect(ended)
    try:
        with bench(2) as pool:
            pids = pool.wait_for_children(2)
            pool.result("quick")
            eventually(lambda: len(list(tmp_path.iterdir())) == 2, "both children have begun")
    finally:
        events.worker_process_init.disconnect(begun)
        events.worker_process_shutdown.disconnect(ended)

    found = {path.name for path in tmp_path.iterdir()}
    assert found == {f"begun-{pid}" for pid in pids} | {f"ended-{pid}-0" for pid in pids}


def test_a_start_is_told_soon_although_the_task_is_long() -> None:
    with bench(2, sleep=lambda _: time.sleep(30)) as pool:
        (long,) = pool.run("sleep")

        eventually(lambda: long.key in pool.started, "the start is told")

        pool.stop(0)
        assert pool.returned == [long.key]


def test_a_thousand_tiny_tasks_do_not_wait_for_a_long_one() -> None:
    with bench(2, sleep=lambda _: time.sleep(30)) as pool:
        pool.run("sleep")
        pool.run("quick", 1000)

        eventually(lambda: len(pool.outcomes) == 1000, "the tiny ones have ended", 15)

        pool.stop(0)


# -- stopped children --------------------------------------------------------------------------------


def test_an_idle_child_that_was_stopped_holds_nothing_up_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac_prefork.collector.STOPPED_SECONDS", 0.3)
    with bench(2) as pool:
        stopped, _ = pool.wait_for_children(2)
        pool.result("quick")
        os.kill(stopped, signal.SIGSTOP)

        pool.run("quick", 200)
        pool.wait_all()

        eventually(lambda: stopped not in pool.children() and len(pool.children()) == 2, "it is replaced")


def test_a_stopped_child_is_killed_at_its_hard_limit() -> None:
    with bench(1, sleep=lambda _: time.sleep(60)) as pool:
        (request,) = pool.run("sleep", time_limit=0.5)
        eventually(lambda: pool.started, "it runs")
        os.kill(pool.children()[0], signal.SIGSTOP)

        assert "TimeLimitExceeded" in pool.outcome(request).error
        assert pool.result("quick") == ""


def test_a_run_that_ignores_the_signal_it_is_terminated_with_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(_: Request) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    monkeypatch.setattr("celeriac_prefork.limits.GRACE_SECONDS", 0.3)
    with bench(1, deaf=deaf) as pool:
        (request,) = pool.run("deaf")
        eventually(lambda: pool.pool.terminate(request.key), "it runs")

        assert "TaskRevokedError" in pool.outcome(request).error


# -- limits of coroutines ----------------------------------------------------------------------------


async def _aexecute(request: Request) -> Outcome:
    try:
        await asyncio.sleep(60 if request.task == "long" else 0)
    except SoftTimeLimitExceeded as error:
        return Outcome(key=request.key, state=SUCCESS, reason=f"caught {error.args}")
    return Outcome(key=request.key, state=SUCCESS)


def test_a_coroutine_gets_its_soft_limit_where_it_waits_and_the_next_one_runs_undisturbed() -> None:
    with started(Bench(1, {}, aexecute=_aexecute, is_async=lambda _: True)) as made:
        (long,) = made.run("long", soft_time_limit=0.2)
        (short,) = made.run("short", soft_time_limit=10.0)

        assert made.outcome(long).reason == "caught (0.2,)"
        assert made.outcome(short).reason == ""
    made.account()


# -- recycling ---------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_recycled_children_leave_no_descriptor_behind() -> None:
    with started(Bench(2, {"quick": lambda _: ""}, max_tasks_per_child=1)) as made:
        made.run("quick", 20)
        made.wait_all()

        def open_now() -> list[int]:
            return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), made.zygote)]

        eventually(lambda: len(children_of(made.zygote)) == 2, "both children are there")
        before = open_now()

        made.run("quick", 200)
        made.wait_all(100)
        eventually(lambda: len(children_of(made.zygote)) == 2, "both children are there")

        eventually(
            lambda: all(now <= then for now, then in zip(open_now(), before, strict=True)), "no descriptor is left"
        )
        assert len(os.listdir(f"/proc/{made.children()[0]}/fd")) <= before[1]


def test_a_pool_that_cannot_start_says_why_and_leaves_nothing_behind() -> None:
    before = descriptors()
    made = Bench(1, {}, options={"start_method": "spawn"})

    with pytest.raises(ConfigurationError, match="celeriac -A module worker"):
        made.pool.start()

    assert descriptors() == before
    assert made.pool.stop(None) == []


# -- frames ------------------------------------------------------------------------------------------


def test_a_frame_that_nobody_has_is_sent_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if a child had been killed in the kernel, between taking a frame and having it."""
    monkeypatch.setattr("celeriac_prefork.audit.AUDIT_SECONDS", 0.3)

    def wait(_: Request) -> None:
        while tmp_path.exists() and not (tmp_path / "gate").exists():
            time.sleep(0.01)

    with bench(1, wait=wait) as pool:
        pool.run("wait")
        eventually(lambda: pool.started, "it runs")
        pool.run("quick", 3)
        pool.pool._parts.dispatch.far.recv(FRAME_LIMIT)

        (tmp_path / "gate").touch()

        pool.wait_all()
    assert {outcome.state for outcome in pool.outcomes} == {SUCCESS}


def test_a_request_that_cannot_be_handed_over_fails_alone() -> None:
    with bench(1) as pool:
        (bad,) = pool.run("quick", headers={"x": lambda: None})
        pool.run("quick", 3)

        assert pool.outcome(bad).state == FAILURE
        pool.wait_all()
    assert sorted(outcome.state for outcome in pool.outcomes) == [FAILURE] + [SUCCESS] * 3


def test_a_failure_that_cannot_be_recorded_ends_its_run_all_the_same() -> None:
    def failed(*_: Any) -> Outcome:
        raise RuntimeError("no record")

    with started(Bench(1, {"bad": lambda _: 1 / 0, "die": lambda _: os._exit(1)}, failed=failed)) as made:
        made.run("bad")
        made.run("die")
        made.wait_all()

    assert {outcome.state for outcome in made.outcomes} == {FAILURE}
