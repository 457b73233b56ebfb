"""Worker processes that tests start, kill, stop and count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

APPS = Path(__file__).parent / "faults"


class Fleet:
    """Workers of `faults_app` on one broker, which keeps the results too; a SQLite file, if none is named.

    Every process it started is gone when the context ends.
    """

    def __init__(self, home: Path, *, broker: str = "", lease_seconds: float = 1.0) -> None:
        self.home = home
        broker = broker or f"sqlite:///{home / 'queue.db'}"
        self.environment = {
            **os.environ,
            "FAULTS_HOME": str(home),
            "FAULTS_BROKER": broker,
            "FAULTS_LEASE": str(lease_seconds),
            "PYTHONPATH": str(APPS),
        }
        self.running: list[subprocess.Popen[bytes]] = []
        self.killed: set[int] = set()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, *arguments: str, pool: str = "solo", app: str = "faults_app") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celeriac", "-A", app, "worker", "-P", pool, "-l", "INFO", *arguments]
        with open(self.home / f"worker-{len(self.running)}.log", "wb") as log:
            process = subprocess.Popen(command, env=self.environment, cwd=APPS, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.killed.add(process.pid)

    def runs(self) -> dict[int, list[int]]:
        """Return, by task number, the process of each run that began."""
        found: dict[int, list[int]] = defaultdict(list)
        log = self.home / "runs.log"
        if log.exists():
            for line in log.read_text().splitlines():
                what, number, pid = line.split()
                if what == "start":
                    found[int(number)].append(int(pid))
        return found

    def at_work(self) -> set[int]:
        """Return the processes that have begun a task."""
        return {pid for pids in self.runs().values() for pid in pids}

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return (self.home / f"worker-{self.running.index(process)}.log").read_text()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.home.glob("worker-*.log")))


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something another process does; there is no signal to wait on but its effect."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
