"""Run workers for minutes on all kinds of tasks, and see whether they grow: `python soak.py MINUTES [POOL …]`.

Every second it notes the resident memory of each worker, of its children together, and how many descriptors the worker
has open. The slope of a line through what was measured after the warm-up, by least squares, must be about nothing, and
descriptors may not become more. Ends with 1 if something grows, or a worker dies.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import APPS, Fleet

WARM_UP = 1 / 3
"""The part of the time that is not counted: imports, first connections, caches."""

STEADY_KIB_A_MINUTE = 512.0
NOISE_KIB = 20_480.0
"""What a process may move by within a run, whatever its length, for want of a finer measure."""

MOST_DESCRIPTORS = 8
RATE = 150
MOST_WAITING = 1000

MIX = [
    *["tick"] * 60,
    *["naps"] * 10,
    *["fails"] * 8,
    *["large"] * 4,
    *["prints_a_line"] * 4,
    *["overruns"] * 2,
]
ONLY_PROCESSES = ["segfaults", "is_killed", "stays_too_long"]
"""What other pools cannot survive, or give up a thread for: after a few of these their worker retires."""


class Sample(NamedTuple):
    """One look at a worker: minutes since the start, KiB, KiB of all children together, open descriptors."""

    minute: float
    own: float
    children: float
    descriptors: float


class Verdict(NamedTuple):
    """What a series says."""

    what: str
    measured: float
    allowed: float

    @property
    def sound(self) -> bool:
        return self.measured <= self.allowed


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line through points that is nearest by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def judge(samples: Sequence[Sample], minutes: float) -> list[Verdict]:
    """Say what the samples of one worker show."""
    counted = [sample for sample in samples if sample.minute >= minutes * WARM_UP]
    third = max(1, len(counted) // 3)
    allowed = STEADY_KIB_A_MINUTE + NOISE_KIB / minutes
    before = max(sample.descriptors for sample in counted[:third])
    after = min(sample.descriptors for sample in counted[-third:])
    return [
        Verdict("worker, KiB a minute", slope([(each.minute, each.own) for each in counted]), allowed),
        Verdict("children, KiB a minute", slope([(each.minute, each.children) for each in counted]), allowed),
        Verdict("descriptors, more than before", after - before, MOST_DESCRIPTORS),
    ]


def resident(pid: int) -> float:
    """Return the KiB that a process has in memory; 0 if it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
    return 0.0


def below(pid: int) -> list[int]:
    """Return the processes below one."""
    found = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


def look(pid: int, minute: float) -> Sample:
    """Measure a worker now."""
    descriptors = 0
    with suppress(OSError):
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(minute, resident(pid), sum(map(resident, below(pid))), descriptors)


def feed(app, chance: random.Random, pool: str) -> None:
    """Publish a second's worth of tasks to the queue of a pool, unless enough wait there."""
    (depth,) = app.connections.transport().depths([pool], timeout=30)
    if depth.waiting > MOST_WAITING:
        return
    mix = MIX + (ONLY_PROCESSES if pool == "prefork" else [])
    names = [chance.choice(mix) for _ in range(RATE)]
    app.publish_many([app.tasks[f"soak_app.{name}"].s(chance.randrange(1000)).set(queue=pool) for name in names])


def soak(minutes: float, pools: Sequence[str], home: Path) -> bool:
    """Run a worker of each pool for so long; print what was seen; return whether all is well."""
    with Fleet(home, lease_seconds=30.0) as fleet:
        os.environ.update({name: fleet.environment[name] for name in ("FAULTS_HOME", "FAULTS_BROKER", "FAULTS_LEASE")})
        sys.path.insert(0, str(APPS))
        app = importlib.import_module("soak_app").app
        options = ("-c", "4", "-l", "CRITICAL")
        workers = {pool: fleet.start(*options, "-Q", pool, pool=pool, app="soak_app") for pool in pools}
        samples: dict[str, list[Sample]] = {pool: [] for pool in pools}
        chance, begun = random.Random(1), time.monotonic()
        while (passed := time.monotonic() - begun) < minutes * 60:
            for pool in pools:
                feed(app, chance, pool)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - begun - passed)))
            for pool, worker in workers.items():
                samples[pool].append(look(worker.pid, passed / 60))
        lives = {pool: worker.poll() is None for pool, worker in workers.items()}
        app.close()
        return all([tell(pool, samples[pool], minutes, lives[pool]) for pool in pools])  # noqa: C419  tell of all


def tell(pool: str, samples: Sequence[Sample], minutes: float, lives: bool) -> bool:
    """Print what a worker showed; return whether it is well."""
    last = samples[-1]
    print(f"{pool}: {len(samples)} looks; at the end {last.own:.0f} KiB, children {last.children:.0f} KiB, ", end="")
    print(f"{last.descriptors:.0f} descriptors{'' if lives else '; IT DIED'}")
    verdicts = judge(samples, minutes)
    for verdict in verdicts:
        mark = "ok" if verdict.sound else "TOO MUCH"
        print(f"  {verdict.what:32} {verdict.measured:10.1f}  (at most {verdict.allowed:.1f})  {mark}")
    return lives and all(verdict.sound for verdict in verdicts)


def main() -> int:
    """Read the arguments and soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("pools", nargs="*", default=["prefork", "threads"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="celeriac-soak-") as home:
        return 0 if soak(given.minutes, given.pools, Path(home)) else 1


if __name__ == "__main__":
    sys.exit(main())
