"""The pools, each with results, against Celery's pool of the same name.

    nox -s bench -- pools [--quick] [--only PATTERN] [--json FILE]

Both use Redis where it is installed; Celeriac else its embedded broker.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from rig import Bench, Figure, Measure, Setup, drain_cpu, drain_rate, report, resident_mib, with_pool

BASE = Setup(broker="redis" if shutil.which("redis-server") else "embedded")


def naps(count: int, what: str) -> Measure:
    """Seconds from the first one sent, or MiB at the end, of so many tasks that sleep a second, all in one process."""

    def measure(peer: str) -> float:
        with Bench(peer, with_pool(BASE, "asyncio", count)) as bench, bench.worker() as process:
            bench.client("publish_many", 10)
            bench.wait_for(10, process)
            began = bench.client("publish_naps", count)["began"]
            _, _, last = bench.wait_for(count + 10, process)
            return resident_mib(process.pid) if what == "memory" else last - began

    return measure


def behind_a_long_one(count: int) -> Measure:
    """Milliseconds, sending included, of so many tiny tasks on two processes, one of which is busy for ten seconds."""

    def measure(peer: str) -> float:
        with Bench(peer, with_pool(BASE, "prefork", 2)) as bench, bench.worker() as process:
            bench.client("publish_many", 10)
            bench.wait_for(10, process)
            bench.client("publish_hold", 10)
            time.sleep(0.5)
            began = bench.client("publish_many", count)["began"]
            _, _, last = bench.wait_for(10 + count, process)
            return (last - began) * 1e3

    return measure


def figures(scale: int) -> Sequence[Figure]:
    pools = (("prefork", 2, 60_000), ("threads", 8, 40_000), ("gevent", 100, 20_000), ("eventlet", 100, 20_000))
    drains = []
    for pool, slots, count in pools:
        setup = with_pool(BASE, pool, slots)
        name = f"{pool} -c {slots}"
        drains.append(Figure(name=f"{name}, tasks/s", measure=drain_rate(count // scale, setup)))
        drains.append(Figure(name=f"{name}, CPU µs", measure=drain_cpu(count // scale, setup), more_is_better=False))
    return [
        *drains,
        Figure(name="asyncio, 5,000 naps of 1 s, s", measure=naps(5000, "time"), alone=True),
        Figure(name="asyncio, 5,000 naps of 1 s, MiB", measure=naps(5000, "memory"), alone=True),
        Figure(name="1,000 tiny ones beside a long one, ms", measure=behind_a_long_one(1000), alone=True),
    ]


if __name__ == "__main__":
    report(__doc__, figures)
