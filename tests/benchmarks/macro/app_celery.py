"""Celery on RabbitMQ where the benchmark is, else on Redis where one runs here, else on SQLite by SQLAlchemy."""

from __future__ import annotations

import os
import sys
import time

from celery import Celery, chain, chord, group
from probe import hit

REDIS, HOME = os.environ.get("BENCH_REDIS"), os.environ["BENCH_HOME"]
if os.environ["BENCH_BROKER"] == "amqp":
    BROKER, RESULTS = os.environ["BENCH_AMQP"], "rpc://"
elif REDIS:
    BROKER, RESULTS = f"{REDIS}/14", f"{REDIS}/15"
else:
    BROKER, RESULTS = f"sqla+sqlite:///{HOME}/celery.db", f"db+sqlite:///{HOME}/results.db"

app = Celery("bench", broker=BROKER, backend=RESULTS)
app.conf.update(
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_ignore_result=not os.environ.get("BENCH_RESULTS"),
    task_default_queue_type=os.environ["BENCH_QUEUE_TYPE"],
    task_default_delivery_mode=int(os.environ["BENCH_DELIVERY_MODE"]),
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.add")
def add(x, y):
    hit()
    return x + y


@app.task(name="bench.none")
def none():
    return None


@app.task(name="bench.step")
def step(value):
    return value + 1


@app.task(name="bench.total")
def total(values):
    return len(values)


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


def run_chord(count: int) -> list[float]:
    """Send chords of so many members; return the seconds each took until the body's result was here."""
    return timed(lambda: chord([none.si() for _ in range(count)])(total.s()).get(timeout=120), count)


def run_chain(count: int) -> list[float]:
    return timed(
        lambda: chain(*[step.s(0), *[step.s() for _ in range(count - 1)]]).apply_async().get(timeout=120), count
    )


def run_group(count: int) -> list[float]:
    return timed(lambda: len(group([none.si() for _ in range(count)]).apply_async().get(timeout=120)), count)


def timed(run, expected: int) -> list[float]:
    """Return the seconds of each of some runs, after one that warms up, and the bytes that the server got for each."""
    import redis  # noqa: PLC0415  only here

    server = redis.Redis.from_url(REDIS)
    samples = []
    for _ in range(4):
        before, began = server.info("stats")["total_net_input_bytes"], time.perf_counter()
        if (value := run()) != expected:
            raise SystemExit(f"wrong result: {value} instead of {expected}")
        samples.append((time.perf_counter() - began, server.info("stats")["total_net_input_bytes"] - before))
    return samples[1:]


if __name__ == "__main__":
    from client import main

    main(globals())
