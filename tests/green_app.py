"""The app of the tests of greenlet workers; what it runs on comes from the environment."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from time import sleep

from celeriac import Celeriac
from celeriac.errors import SoftTimeLimitExceeded

app = Celeriac("green", broker=os.environ["GREEN_BROKER"], backend=os.environ["GREEN_BROKER"], set_as_current=False)
app.conf.update(
    broker_transport_options={"lease_seconds": float(os.environ.get("GREEN_LEASE", "30"))},
    worker_pool=os.environ.get("GREEN_SETTING") or None,
)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task
async def async_nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@app.task
def noted_nap(seconds: float, note: str) -> str:
    with Path(note).open("a") as file:
        file.write("began\n")
    time.sleep(seconds)
    return "ended"


@app.task
def compute(seconds: float, note: str) -> str:
    with Path(note).open("a") as file:
        file.write("began\n")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "ended"


@app.task(soft_time_limit=0.3)
def tidies_up() -> str:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied"
    return "never told"


@app.task(soft_time_limit=0.3)
async def tidies_up_async() -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied"
    return "never told"


@app.task(time_limit=0.3)
def swallows_everything() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001  what it is about
            continue


@app.task
def looks() -> dict[str, str]:
    """Tell where that comes from which this module, and the worker before it, has imported."""
    found = {"sleep": sleep, "socket": socket.socket, "lock": type(threading.Lock())}
    return {name: each.__module__ for name, each in found.items()}
