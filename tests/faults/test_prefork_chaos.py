"""Children of prefork are killed, stopped and segfaulted all the time: every task ends, and none ends twice."""

from __future__ import annotations

import importlib
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from fleet import APPS, Fleet, wait_until

from celeriac.kernel import plugins

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(600),
    pytest.mark.skipif("prefork" not in plugins.names("pool"), reason="prefork is not installed"),
]

TASKS = 100_000
BATCH = 5_000
EVERY_SECONDS = 0.05
SIGNALS = [signal.SIGKILL] * 3 + [signal.SIGSEGV] * 3 + [signal.SIGSTOP]
"""One that is stopped holds its slot until the hard limit, so these are fewer."""


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture
def module(fleet, monkeypatch):
    for name in ("FAULTS_HOME", "FAULTS_BROKER"):
        monkeypatch.setenv(name, fleet.environment[name])
    monkeypatch.syspath_prepend(str(APPS))
    sys.modules.pop("abuse_app", None)
    module = importlib.import_module("abuse_app")
    yield module
    module.app.close()
    sys.modules.pop("abuse_app", None)


def descendants(pid: int) -> list[int]:
    """Return the processes below one, the children of its children included."""
    found = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def children(worker: int) -> list[int]:
    """Return the processes that run tasks: those below the zygote."""
    return [pid for pid in descendants(worker) if not descendants(pid) and parent(pid) != worker]


def parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    return 0


def left(module) -> int:
    depths = module.app.connections.transport().depths(timeout=10)
    return sum(depth.waiting + depth.delayed + depth.held for depth in depths)


def test_of_a_hundred_thousand_tasks_none_is_lost_and_none_ends_twice(fleet, module):
    results = []
    for start in range(0, TASKS, BATCH):
        results += module.app.publish_many(
            [module.tick.s(number).set(time_limit=1.0) for number in range(start, start + BATCH)]
        )
    worker = fleet.start("-c", "6", pool="prefork", app="abuse_app")
    wait_until(lambda: len(children(worker.pid)) >= 6, 30, "the children are there")
    chance = random.Random(11)
    hits: Counter[signal.Signals] = Counter()
    looks = 0

    end = time.monotonic() + 400
    while time.monotonic() < end:
        time.sleep(EVERY_SECONDS)
        looks += 1
        if looks % 20 == 0 and not left(module):
            break
        victims = children(worker.pid)
        if victims:
            number = chance.choice(SIGNALS)
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), number)
                hits[number] += 1

    assert left(module) == 0
    worker.terminate()
    assert worker.wait(60) == 0, fleet.log(worker)[-3000:]
    log = fleet.log(worker)
    endings = Counter(re.findall(r"task abuse_app\.tick\[([^\]]+)\] (?:succeeded|failed)", log))
    assert set(endings) == {result.id for result in results}
    assert set(endings.values()) == {1}
    assert all(hits[number] for number in set(SIGNALS))
    assert "internal_error" not in log
    assert "Traceback" not in log
    print(f"{sum(hits.values())} signals: {dict(hits)}")
