"""Celery on its own best local setting: Redis for broker and results where one runs here, else SQLite by SQLAlchemy."""

from __future__ import annotations

import os
import sys
import time

from celery import Celery, group
from probe import hit

REDIS = os.environ.get("BENCH_REDIS")

app = Celery(
    "bench",
    broker=f"{REDIS}/14" if REDIS else f"sqla+sqlite:///{os.environ['BENCH_HOME']}/celery.db",
    backend=f"{REDIS}/15" if REDIS else f"db+sqlite:///{os.environ['BENCH_HOME']}/results.db",
)
app.conf.update(
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_ignore_result=not os.environ.get("BENCH_RESULTS"),
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.add")
def add(x, y):
    hit()
    return x + y


def worker_command() -> list[str]:
    pool, slots = os.environ["BENCH_POOL"], os.environ["BENCH_SLOTS"]
    tuned = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--prefetch-multiplier", "500"]
    command = [sys.executable, "-m", "celery", "-A", "app_celery:app", "worker", "-P", pool, "-l", "WARNING", *tuned]
    return command if pool == "solo" else [*command, "-c", slots]


def publish(count: int) -> None:
    for n in range(count):
        add.delay(n, 1)


def publish_many(count: int) -> None:
    with app.producer_or_acquire() as producer:
        group(add.s(n, 1) for n in range(count)).apply_async(producer=producer)


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
