"""The tasks of the fault tests. Every run leaves a line, written by one atomic append, before and after its work."""

import json
import os
import time
from pathlib import Path

from celeriac import Celeriac

HOME = Path(os.environ["FAULTS_HOME"])

app = Celeriac(
    "faults",
    broker=os.environ["FAULTS_BROKER"],
    backend=os.environ.get("FAULTS_BACKEND", os.environ["FAULTS_BROKER"]),
    broker_transport_options=(
        json.loads(os.environ["FAULTS_OPTIONS"])
        if "FAULTS_OPTIONS" in os.environ
        else {"lease_seconds": float(os.environ.get("FAULTS_LEASE", "1.0"))}
    ),
)


def note(what: str, number: int) -> None:
    with open(HOME / "runs.log", "ab", buffering=0) as log:
        log.write(f"{what} {number} {os.getpid()}\n".encode())


@app.task
def work(number: int, seconds: float = 0.0) -> int:
    note("start", number)
    time.sleep(seconds)
    note("end", number)
    return number


@app.task
def sleep(number: int, seconds: float) -> int:
    note("start", number)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
    note("end", number)
    return os.getpid()


@app.task(acks_late=False)
def once(number: int) -> int:
    note("start", number)
    note("end", number)
    return number


@app.task
def crash(number: int) -> None:
    note("start", number)
    os.kill(os.getpid(), 9)


@app.task
def nothing(number: int) -> int:
    return number


@app.task(ignore_result=True)
def quiet(number: int, padding: str = "") -> None:
    note("start", number)
