"""The embedded broker, with results at its default durability (synchronous=FULL), on one solo worker.

    nox -s bench -- embedded [--quick] [--only PATTERN] [--json FILE]

Celery uses its best local setting (see macro/app_celery.py).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from rig import (
    Bench,
    Figure,
    Measure,
    Setup,
    drain_cpu,
    drain_rate,
    idle,
    publish_rate,
    report,
    resident_mib,
    round_trip,
)

SETUP = Setup(broker="embedded")


def import_ms(statement: str) -> Measure:
    """Milliseconds of one import statement, in which PEER and APP stand for the peer's module and class."""

    def measure(peer: str) -> float:
        said = statement.replace("PEER", peer).replace("APP", peer.capitalize())
        code = f"import time; t = time.perf_counter(); {said}; print((time.perf_counter() - t) * 1e3)"
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout)

    return measure


def help_ms(program: str) -> float:
    """Milliseconds that `--help` takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, check=True, env=_environment())
    return (time.perf_counter() - began) * 1e3


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def delayed(count: int, what: str, when: str) -> Measure:
    """Say a worker's MiB, or the milliseconds of a task sent now, `before` or `after` so many were delayed by a day."""

    def measure(peer: str) -> float:
        with Bench(peer, SETUP) as bench, bench.worker() as process:
            bench.client("round_trip", 20)
            bench.wait_for(20, process)
            if when == "after":
                bench.client("publish_delayed", count)
            seconds = statistics.median(bench.client("round_trip", 200)["samples"])
            return resident_mib(process.pid) if what == "memory" else seconds * 1e3

    return measure


def figures(scale: int) -> Sequence[Figure]:
    million = 1_000_000 // scale
    return [
        Figure(name="publish one by one, tasks/s", measure=publish_rate("publish", 5000 // scale, SETUP)),
        Figure(name="publish in bulk, tasks/s", measure=publish_rate("publish_many", 20_000 // scale, SETUP)),
        Figure(name="drain with results, solo, tasks/s", measure=drain_rate(30_000 // scale, SETUP)),
        Figure(name="worker CPU per task, µs", measure=drain_cpu(20_000 // scale, SETUP), more_is_better=False),
        Figure(name="round trip p50, ms", measure=round_trip(0.5, 500 // scale, SETUP), more_is_better=False),
        Figure(name="round trip p99, ms", measure=round_trip(0.99, 500 // scale, SETUP), more_is_better=False),
        Figure(name="idle worker, % of a core", measure=idle("cpu", 10 / scale + 1, SETUP), more_is_better=False),
        Figure(name="idle worker, MiB resident", measure=idle("memory", 1, SETUP), more_is_better=False),
        Figure(name="import of the package, ms", measure=import_ms("import PEER"), more_is_better=False),
        Figure(name="import of the app's class, ms", measure=import_ms("from PEER import APP"), more_is_better=False),
        Figure(name="--help, ms", measure=help_ms, more_is_better=False),
        *(
            Figure(name=f"{name}, {when} {million:,} delayed tasks", measure=delayed(million, what, when), alone=True)
            for what, name in (("memory", "MiB resident"), ("time", "round trip, ms"))
            for when in ("before", "after")
        ),
    ]


if __name__ == "__main__":
    report(__doc__, figures)
