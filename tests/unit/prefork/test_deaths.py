"""A child is killed at every stage of its work, and at random: each run is reported once, and only its own is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefork_bench import Bench, bench, lives
from running import eventually

from celeriac.model.record import FAILURE, SUCCESS
from celeriac.model.request import Request
from celeriac_prefork.child import Child
from celeriac_prefork.ring import Ring


def once(flag: Path, method: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """Return a method that kills its process before, or after, what it does: the first time that it is called."""

    def killing(self: Any, *arguments: Any, **options: Any) -> Any:
        value = method(self, *arguments, **options) if after else None
        with suppress(FileExistsError):
            flag.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        return value if after else method(self, *arguments, **options)

    return killing


STAGES = [
    # what is killed around, whether its run is lost, that is, had begun and left no outcome
    (Child, "_handle", False, False),
    (Child, "_run", False, True),
    (Child, "_run", True, True),
    (Ring, "append", False, True),
    (Ring, "append", True, False),
    (Child, "_handle", True, False),
    (Child, "_worn_out", False, False),
    (Child, "_wake", True, False),
]


@pytest.mark.parametrize(("owner", "name", "after", "is_lost"), STAGES)
def test_a_child_killed_at_any_stage_costs_at_most_the_run_it_was_in(
    owner: type, name: str, after: bool, is_lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, once(tmp_path / "flag", getattr(owner, name), after=after))

    with bench() as one:
        one.run("quick", 5)
        one.wait_all()

    states = [outcome.state for outcome in sorted(one.outcomes, key=lambda outcome: outcome.key)]
    assert (tmp_path / "flag").exists()
    assert states == ([FAILURE] if is_lost else [SUCCESS]) + [SUCCESS] * 4
    assert not is_lost or "signal 9 (SIGKILL)" in one.outcomes[0].error


@pytest.mark.timeout(120)
def test_children_killed_all_the_time_lose_no_run_and_double_none() -> None:
    count = 20_000
    with bench(3) as many:
        over = threading.Event()
        killer = threading.Thread(target=_kill_children, args=(many, over))
        killer.start()
        try:
            for _ in range(count // 500):
                many.run("quick", 500)
            many.wait_all(80)
        finally:
            over.set()
            killer.join()

    assert len(many.outcomes) == count
    assert sorted({outcome.state for outcome in many.outcomes}) in ([SUCCESS], [FAILURE, SUCCESS])


def _kill_children(many: Bench, over: threading.Event) -> None:
    """Kill one every few milliseconds, but not for ever: a loaded machine takes longer than that to start one."""
    chance = random.Random(7)
    kills = 0
    while kills < 100 and not over.wait(0.01):
        children = many.children()
        if children:
            kills += 1
            with suppress(ProcessLookupError):
                os.kill(chance.choice(children), signal.SIGKILL)


def test_a_child_that_dies_is_replaced_although_the_other_brings_outcomes_without_a_pause() -> None:
    with bench(2) as pool:
        first = pool.wait_for_children(2)
        over = threading.Event()

        def submit() -> None:
            while not over.is_set():
                if len(pool.submitted) - len(pool.outcomes) < 2000:
                    pool.run("quick", 500)

        stream = threading.Thread(target=submit)
        stream.start()
        try:
            os.kill(first[0], signal.SIGKILL)
            eventually(lambda: len(set(pool.children()) - set(first)) == 1, "it is replaced")
        finally:
            over.set()
            stream.join()
        pool.wait_all()


def test_a_child_killed_while_it_is_idle_is_replaced() -> None:
    with bench(2) as pool:
        first = pool.wait_for_children(2)

        for pid in first:
            os.kill(pid, signal.SIGKILL)

        eventually(lambda: len(pool.children()) == 2 and not set(first) & set(pool.children()), "two new children")
        pool.run("quick", 10)
        pool.wait_all()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda _: os.kill(os.getpid(), signal.SIGSEGV), "signal 11 (SIGSEGV)"),
        (lambda _: os._exit(7), "exit code 7"),
        (lambda _: os.abort(), "signal 6 (SIGABRT)"),
    ],
)
def test_the_outcome_says_how_the_process_ended(end: Callable[[Any], Any], words: str) -> None:
    with bench(end=end) as pool:
        (request,) = pool.run("end")

        assert words in pool.outcome(request).error


def test_children_that_do_not_start_up_make_the_worker_retire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child, "serve", lambda _: 3)
    monkeypatch.setattr("celeriac_prefork.crew.LONGEST_PAUSE", 0.05)

    with bench() as pool:
        eventually(lambda: pool.retired, "the pool retires")
        pool.run("quick", 3)

        pool.stop()

    assert "before they are ready" in pool.retired[0]
    assert pool.returned == pool.submitted


def test_a_killed_zygote_takes_its_children_along_and_the_worker_retires(tmp_path: Path) -> None:
    with bench(2, sleep=lambda _: time.sleep(60)) as pool:
        children = pool.wait_for_children(2)
        lost = pool.run("sleep", 2)
        pool.run("quick", 100)
        eventually(lambda: len(pool.started) >= 2, "two runs have begun")

        os.kill(pool.zygote, signal.SIGKILL)

        assert all("zygote" in pool.outcome(each).error or "SIGKILL" in pool.outcome(each).error for each in lost)
        eventually(lambda: pool.retired, "the pool retires")
        assert not [pid for pid in children if lives(pid)]
        pool.stop()
        assert len(pool.returned) == 100


def test_a_child_that_writes_over_its_memory_costs_what_it_had_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append = Ring.append

    def note(request: Request) -> None:
        with open(tmp_path / "ran", "a") as file:
            file.write(f"{request.key}\n")

    def scribbling(self: Ring, kind: int, number: int, payload: bytes) -> bool:
        append(self, kind, number, payload)
        if number == 3:
            self._words[self._head] = 12345
            time.sleep(60)
        return True

    monkeypatch.setattr(Ring, "append", scribbling)

    with bench(note=note) as pool:
        pool.run("note", 10)
        pool.wait_all()

    states = [outcome.state for outcome in sorted(pool.outcomes, key=lambda outcome: outcome.key)]
    assert states[2:] == [FAILURE] + [SUCCESS] * 7
    assert (tmp_path / "ran").read_text().split() == [str(key) for key in pool.submitted]
