"""The mixed tasks of the soak test."""

import ctypes
import os
import time

from celeriac import Celeriac

app = Celeriac(
    "soak",
    broker=os.environ["FAULTS_BROKER"],
    broker_transport_options={"lease_seconds": float(os.environ["FAULTS_LEASE"])},
    result_expires=60,
    task_reject_on_worker_lost=False,
)


@app.task
def tick(number: int) -> int:
    return sum(range(number))


@app.task
def naps(number: int) -> None:
    time.sleep(number / 20_000)


@app.task
def fails(number: int) -> None:
    raise ValueError(f"number {number}", "x" * number)


@app.task
def large(number: int) -> str:
    return "x" * (number * 500)


@app.task
def prints_a_line(number: int) -> None:
    print("line", number)


@app.task(soft_time_limit=0.2, time_limit=20.0)
def overruns(number: int) -> None:
    while True:
        time.sleep(0.01)


@app.task(time_limit=0.3)
def stays_too_long(number: int) -> None:
    time.sleep(20)


@app.task
def segfaults(number: int) -> None:
    ctypes.string_at(0)


@app.task
def is_killed(number: int) -> None:
    os.kill(os.getpid(), 9)
