"""Workers that start in a blink: a process imports all they need, and forks one for each line that it reads.

A worker that has to start an interpreter and import everything takes most of a second of a processor, so that killing
five a second would leave none that works.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from fleet import APPS, Fleet

__all__ = ["Nursery", "killing"]

NEEDED = (
    "networkx",
    "celeriac.cli.main",
    "celeriac.runtime.worker",
    "celeriac.runtime.worker_steps",
    "celeriac_redis.transport",
    "celeriac_sqlite.transport",
    "celeriac_threads.pool",
)
"""What a worker imports."""


class Nursery:
    """Workers of one app of the fault tests, on the broker of a fleet. All are gone when the context ends."""

    def __init__(self, fleet: Fleet, app: str, *arguments: str) -> None:
        self.killed: list[int] = []
        self._home = fleet.home
        self._log = open(fleet.home / "nursery.log", "wb")  # noqa: SIM115  closed with the context
        self._process = subprocess.Popen(
            [sys.executable, __file__, app, *arguments],
            env={**fleet.environment, "PYTHONPATH": os.pathsep.join([str(APPS), str(Path(__file__).parent)])},
            cwd=APPS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.living: list[int] = []

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def start(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("start\n")
        self._process.stdin.flush()
        self.living.append(int(self._process.stdout.readline()))

    def at_work(self) -> list[int]:
        """Return the living workers that have begun a task, the oldest first."""
        return [pid for pid in self.living if (self._home / f"began-{pid}").exists()]

    def kill(self, pid: int) -> None:
        """Kill a worker and wait until it is gone."""
        self.living.remove(pid)
        self.killed.append(pid)
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.001)


@contextmanager
def killing(fleet: Fleet, count: int, seconds: float, *arguments: str) -> Iterator[Nursery]:
    """Have so many workers, of which the one that has been at work longest is killed every so many seconds."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(seconds):
            if at_work := nursery.at_work():
                nursery.kill(at_work[0])
                nursery.start()

    killer = threading.Thread(target=kill)
    with Nursery(fleet, "workflows_app", "-P", "threads", "-c", "2", *arguments) as nursery:
        for _ in range(count):
            nursery.start()
        killer.start()
        try:
            yield nursery
        finally:
            over.set()
            killer.join()


def bring_up(app: str, arguments: list[str]) -> None:
    """Fork a worker for each line; end them all when there is nothing more to read."""
    for name in (*NEEDED, app):
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pids: list[int] = []
    for _ in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            sys.argv = ["celeriac", "-A", app, "worker", "-l", "INFO", *arguments]
            runpy.run_module("celeriac", run_name="__main__")
            os._exit(0)
        pids.append(pid)
        print(pid, flush=True)
    for pid in pids:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    for pid in pids:
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


if __name__ == "__main__":
    bring_up(sys.argv[1], sys.argv[2:])
