"""Workers on greenlets: real processes, since the patch is of a whole process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from running import eventually

TESTS = Path(__file__).parent


class GreenWorkers:
    """Workers of `green_app` with one broker; every process it started is gone when the context ends."""

    def __init__(self, home: Path, broker: str, *, lease_seconds: float = 30.0) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "GREEN_BROKER": broker,
            "GREEN_LEASE": str(lease_seconds),
            "PYTHONPATH": str(TESTS),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> GreenWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def start(self, pool: str, slots: int = 4, *, command: Sequence[str] = (), ready: bool = True, **environment: str):
        """Start a worker and wait until it is ready; `command` is how, instead of by `-P pool`."""
        arguments = command or (sys.executable, "-m", "celeriac", "-A", "green_app", "worker", "-P", pool)
        path = self.home / f"worker-{len(self.processes)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*arguments, "-c", str(slots), "-n", f"w{len(self.processes)}@test"],
                env={**self.environment, **environment},
                cwd=TESTS,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        if ready:
            eventually(lambda: " ready: " in self.log(process) or process.poll() is not None, "it is ready", 60)
            assert process.poll() is None, self.log(process)
        return process

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return (self.home / f"worker-{self.processes.index(process)}.log").read_text()
