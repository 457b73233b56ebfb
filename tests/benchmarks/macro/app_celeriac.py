"""Celeriac, through its public API: the embedded broker with results, at its default durability."""

from __future__ import annotations

import os
import sys
import time

from probe import hit

from celeriac import Celeriac

app = Celeriac("bench", broker=f"sqlite:///{os.environ['BENCH_HOME']}/queue.db")


@app.task(name="bench.add")
def add(x, y):
    hit()
    return x + y


def worker_command() -> list[str]:
    return [sys.executable, "-m", "celeriac", "-A", "app_celeriac:app", "worker", "-P", "solo", "-l", "WARNING"]


def publish(count: int) -> None:
    for n in range(count):
        add.delay(n, 1)


def publish_many(count: int) -> None:
    for start in range(0, count, 1000):
        app.publish_many([add.s(n, 1) for n in range(start, min(count, start + 1000))])


def publish_delayed(count: int) -> None:
    for start in range(0, count, 10_000):
        app.publish_many([add.s(n, 1).set(countdown=86_400) for n in range(start, min(count, start + 10_000))])


def round_trip(count: int) -> list[float]:
    seconds = []
    for n in range(count):
        began = time.perf_counter()
        if add.delay(n, 1).get(timeout=30) != n + 1:
            raise SystemExit("wrong result")
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    from client import main

    main(globals())
