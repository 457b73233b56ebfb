"""Celeriac, through its public API: broker, pool and results as the environment says."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from probe import hit

from celeriac import Celeriac, chain, chord, group

HOME, REDIS = os.environ["BENCH_HOME"], os.environ.get("BENCH_REDIS")
ON_RABBITMQ = os.environ["BENCH_BROKER"] == "amqp"
BROKER = {"redis": f"{REDIS}/0", "amqp": os.environ.get("BENCH_AMQP")}.get(
    os.environ["BENCH_BROKER"], f"sqlite:///{HOME}/queue.db"
)
RESULTS = os.environ.get("BENCH_RESULTS")

app = Celeriac("bench", broker=BROKER, backend=("rpc://" if ON_RABBITMQ else BROKER) if RESULTS else None)
app.conf.update(
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_ignore_result=not RESULTS,
    task_default_delivery_mode=int(os.environ["BENCH_DELIVERY_MODE"]),
)
if ON_RABBITMQ:
    app.conf.broker_transport_options = {"queue_type": os.environ["BENCH_QUEUE_TYPE"]}


@app.task(name="bench.add")
def add(x, y):
    hit()
    return x + y


@app.task(name="bench.hold")
def hold(seconds):
    time.sleep(seconds)
    hit()


@app.task(name="bench.nap")
async def nap(seconds):
    await asyncio.sleep(seconds)
    hit()


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
    return [
        *(sys.executable, "-m", "celeriac", "-A", "app_celeriac:app", "worker", "-P", pool, "-l", "WARNING"),
        *(["-c", slots] if slots != "1" else []),
    ]


def publish(count: int) -> None:
    for n in range(count):
        add.delay(n, 1)


def publish_many(count: int) -> None:
    for start in range(0, count, 1000):
        app.publish_many([add.s(n, 1) for n in range(start, min(count, start + 1000))])


def publish_delayed(count: int) -> None:
    for start in range(0, count, 10_000):
        app.publish_many([add.s(n, 1).set(countdown=86_400) for n in range(start, min(count, start + 10_000))])


def publish_naps(count: int) -> None:
    for start in range(0, count, 1000):
        app.publish_many([nap.s(1.0) for _ in range(start, min(count, start + 1000))])


def publish_hold(seconds: int) -> None:
    hold.delay(seconds)


def round_trip(count: int) -> list[float]:
    seconds = []
    for n in range(count):
        began = time.perf_counter()
        if add.delay(n, 1).get(timeout=30) != n + 1:
            raise SystemExit("wrong result")
        seconds.append(time.perf_counter() - began)
    return seconds


def await_many(count: int) -> dict[str, int]:
    """Send tasks and wait for all their results; say how many were right, and how many connections that took."""
    import redis  # noqa: PLC0415  only here

    server = redis.Redis.from_url(REDIS)
    before = len(server.client_list())
    results = app.publish_many([add.s(n, 1) for n in range(count)])
    right = sum(result.get(timeout=60) == n + 1 for n, result in enumerate(results))
    return {"right": right, "connections": len(server.client_list()) - before}


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
