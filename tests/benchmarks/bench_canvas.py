"""Workflows on Redis, one prefork worker of two children for each peer.

    nox -s bench -- canvas [--quick] [--only PATTERN] [--json FILE]

From `apply_async` to the last result in the caller's hands, and the bytes that the server is sent meanwhile, by client
and worker: the median of three, after one that is not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rig import Bench, Figure, Measure, Setup, report

SETUP = Setup(broker="redis", pool="prefork", slots=2)


def seconds(command: str, count: int) -> Measure:
    """Milliseconds of one workflow."""
    return _measure(command, count, 0, 1e3)


def kilobytes(command: str, count: int) -> Measure:
    """Thousands of bytes that the server is sent for one workflow."""
    return _measure(command, count, 1, 1e-3)


def _measure(command: str, count: int, field: int, factor: float) -> Measure:
    def measure(peer: str) -> float:
        with Bench(peer, SETUP) as bench, bench.worker() as process:
            bench.client("round_trip", 20)
            bench.wait_for(20, process)
            samples = bench.client(command, count)["samples"]
            return statistics.median(sample[field] for sample in samples) * factor

    return measure


def figures(scale: int) -> Sequence[Figure]:
    work = [("chord", "run_chord", 1000), ("chain", "run_chain", 100), ("group", "run_group", 1000)]
    return [
        Figure(name=f"{name} of {count // scale:,}, {unit}", measure=of(command, count // scale), more_is_better=False)
        for name, command, count in work
        for unit, of in (("ms", seconds), ("kB sent", kilobytes))
    ]


if __name__ == "__main__":
    report(__doc__, figures)
