"""The workflows of the fault tests. Every run of a body leaves a line, written by one atomic append."""

import os
import time
from typing import Any

from faults_app import HOME, app

__all__ = ["app"]


def note(what: str, number: str) -> None:
    with open(HOME / "runs.log", "ab", buffering=0) as log:
        log.write(f"{what} {number} {os.getpid()}\n".encode())


began: set[int] = set()


def tell() -> None:
    """Leave a file that says that this process is at work."""
    if os.getpid() not in began:
        began.add(os.getpid())
        (HOME / f"began-{os.getpid()}").touch()


@app.task
def step(*args: Any) -> int:
    """Add one to the sum of what is given, after a moment in which the worker may be killed."""
    tell()
    time.sleep(0.001)
    return 1 + sum(arg for arg in args if isinstance(arg, int))


@app.task(bind=True)
def body(self: Any, values: list[int], number: int) -> int:
    note("body", f"{number}:{self.request.id}")
    return sum(values)


@app.task(bind=True)
def child(self: Any, value: int, number: int) -> None:
    note("child", f"{number}:{self.request.id}")


@app.task
def crash(*args: Any) -> None:
    os.kill(os.getpid(), 9)


@app.task
def told(task_id: str, number: int) -> None:
    with open(HOME / "told.log", "ab", buffering=0) as log:
        log.write(f"{number}\n".encode())
