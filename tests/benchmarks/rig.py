"""Whole programs, measured from outside: what every macro benchmark is made of.

A `Bench` is one peer in a fresh folder, with its client and its worker as processes. Figures are medians of several
runs, those of the peers in turn, on the same machine; the ratio is what to compare between machines.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

MACRO = Path(__file__).parent / "macro"
sys.path.insert(0, str(MACRO))

from probe import read  # noqa: E402  it is beside the apps that the children import

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What both peers run with. Celery is on RabbitMQ where Celeriac is, else on Redis, where there is one."""

    broker: str = "embedded"
    queue_type: str = "classic"
    persistent: bool = True
    pool: str = "solo"
    slots: int = 1
    results: bool = True


class Bench:
    """One peer in a fresh folder: what its client and its worker are run with."""

    def __init__(self, peer: str, setup: Setup) -> None:
        self.peer = peer
        self.home = Path(tempfile.mkdtemp(prefix=f"bench-{peer}-"))
        self.environment = {
            **os.environ,
            "BENCH_HOME": str(self.home),
            "BENCH_PROBE": str(self.home),
            "BENCH_QUEUE": f"bench-{uuid.uuid4().hex}",
            "BENCH_BROKER": setup.broker,
            "BENCH_QUEUE_TYPE": setup.queue_type,
            "BENCH_DELIVERY_MODE": "2" if setup.persistent else "1",
            "BENCH_POOL": setup.pool,
            "BENCH_SLOTS": str(setup.slots),
            "BENCH_RESULTS": "yes" if setup.results else "",
            "PYTHONPATH": str(MACRO),
        }
        # Programs as users run them: with their bytecode cached.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def client(self, command: str, count: int) -> dict:
        program = [sys.executable, str(MACRO / f"app_{self.peer}.py"), command, str(count)]
        done = subprocess.run(program, env=self.environment, cwd=MACRO, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(program)} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen]:
        code = f"import app_{self.peer} as a, json; print(json.dumps(a.worker_command()))"
        shown = subprocess.run(
            [sys.executable, "-c", code], env=self.environment, cwd=MACRO, capture_output=True, text=True, check=True
        )
        with open(self.home / "worker.log", "wb") as log:
            command = json.loads(shown.stdout)
            process = subprocess.Popen(command, env=self.environment, cwd=MACRO, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_for(self, count: int, process: subprocess.Popen, seconds: float = 300) -> tuple[int, float, float]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = read(self.home)
            if seen[0] >= count:
                return seen
            if process.poll() is not None:
                raise SystemExit(f"worker ended:\n{(self.home / 'worker.log').read_text()}")
            time.sleep(0.05)
        log = (self.home / "worker.log").read_text()
        raise SystemExit(f"{self.peer}: only {read(self.home)[0]} of {count} tasks ran in {seconds} s\n{log}")


@contextmanager
def redis_server() -> Iterator[str | None]:
    """Give the URL of a Redis of our own, without a database, that children find too; None where it is missing."""
    if shutil.which("redis-server") is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended")
                time.sleep(0.05)
            os.environ["BENCH_REDIS"] = f"redis://127.0.0.1:{port}"
            yield os.environ["BENCH_REDIS"]
        finally:
            os.environ.pop("BENCH_REDIS", None)
            process.terminate()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- what is measured ------------------------------------------------------------------------------

Measure = Callable[[str], float]
Server = Callable[[], AbstractContextManager[str | None]]


def publish_rate(command: str, count: int, setup: Setup) -> Measure:
    """Tasks a second that one thread of a client sends."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench:
            bench.client(command, 10)
            answer = bench.client(command, count)
            return answer["count"] / answer["seconds"]

    return measure


def publish_cpu(command: str, count: int, setup: Setup) -> Measure:
    """Microseconds of CPU of the client per task."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench:
            answer = bench.client(command, count)
            return answer["cpu"] / answer["count"] * 1e6

    return measure


def drain_rate(count: int, setup: Setup) -> Measure:
    """Tasks a second of one worker, from the first execution to the last; all wait before it starts."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench:
            bench.client("publish_many", count)
            with bench.worker() as process:
                done, first, last = bench.wait_for(count, process)
                return (done - 1) / (last - first)

    return measure


def drain_cpu(count: int, setup: Setup) -> Measure:
    """Microseconds of CPU of the worker's processes per task, its start excluded."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench, bench.worker() as process:
            bench.client("publish_many", 100)
            bench.wait_for(100, process)
            before = cpu_seconds(process.pid)
            bench.client("publish_many", count)
            bench.wait_for(count + 100, process)
            return (cpu_seconds(process.pid) - before) / count * 1e6

    return measure


def round_trip(quantile: float, count: int, setup: Setup) -> Measure:
    """Milliseconds from `delay` to the result in the caller's hands, on an idle worker."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench, bench.worker() as process:
            bench.client("round_trip", 20)
            bench.wait_for(20, process)
            samples = sorted(bench.client("round_trip", count)["samples"])
            return samples[int(quantile * (len(samples) - 1))] * 1e3

    return measure


def idle(kind: str, seconds: float, setup: Setup) -> Measure:
    """Percent of a core, or MiB resident, of a worker with nothing to do."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench, bench.worker() as process:
            bench.client("round_trip", 5)
            bench.wait_for(5, process)
            time.sleep(1)
            before, began = cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            if kind == "memory":
                return resident_mib(process.pid)
            return (cpu_seconds(process.pid) - before) / (time.monotonic() - began) * 100

    return measure


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its living descendants."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process and its descendants."""
    return sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(pid)) * PAGE / 2**20


# -- the report ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of a report; `alone` where Celery has nothing of the kind."""

    name: str
    measure: Measure
    more_is_better: bool = True
    alone: bool = False


def report(
    title: str | None, figures: Callable[[int], Sequence[Figure]], server: Server | None = None, name: str = "Redis"
) -> None:
    """Measure the figures that the command line asks for and print them; `figures` is given what to divide work by.

    `server` runs what both peers share, of this `name`, and gives its URL; None where it is missing.
    """
    parser = argparse.ArgumentParser(description=title, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one run each")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is taken")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--only", help="a pattern of the names of figures to measure")
    options = parser.parse_args()
    scale, runs = (10, 1) if options.quick else (1, options.runs)
    with (server or redis_server)() as url:
        chosen = [each for each in figures(scale) if not options.only or re.search(options.only, each.name)]
        print(f"\nCelery uses {name if url else 'SQLite by SQLAlchemy'}; median of {runs} run(s) in turn.\n")
        print(f"{'':48}{'celeriac':>12}{'celery':>12}{'times better':>14}")
        table = {figure.name: _line(figure, runs) for figure in chosen}
    if options.json:
        options.json.write_text(json.dumps(table, indent=2))


def _line(figure: Figure, runs: int) -> dict:
    values: dict[str, list[float]] = {"celeriac": [], "celery": []}
    if figure.alone:
        del values["celery"]
    for _ in range(runs):
        for peer, seen in values.items():
            seen.append(figure.measure(peer))
    ours, *others = (statistics.median(seen) for seen in values.values())
    line: dict = dict(values)
    print(f"{figure.name:48}{ours:12.2f}", end="")
    if others:
        line["better"] = ours / others[0] if figure.more_is_better else others[0] / max(ours, 1e-9)
        print(f"{others[0]:12.2f}{line['better']:14.1f}", end="")
    print(flush=True)
    return line


def with_pool(setup: Setup, pool: str, slots: int) -> Setup:
    """Return the setup with another pool."""
    return replace(setup, pool=pool, slots=slots)
