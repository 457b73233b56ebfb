"""Tasks on RabbitMQ for the fault tests, with results in a SQLite file. Every run leaves a line before and after."""

import json
import os
import time
from pathlib import Path

from celeriac import Celeriac

HOME = Path(os.environ["FAULTS_HOME"])

app = Celeriac(
    "faults",
    broker=os.environ["FAULTS_BROKER"],
    backend=f"sqlite:///{HOME / 'results.db'}",
    broker_transport_options=json.loads(os.environ.get("FAULTS_OPTIONS", "{}")),
)


def note(what: str, number: int) -> None:
    with open(HOME / "runs.log", "ab", buffering=0) as log:
        log.write(f"{what} {number} {os.getpid()}\n".encode())


@app.task
def sleep(number: int, seconds: float) -> int:
    note("start", number)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)
    note("end", number)
    return number
