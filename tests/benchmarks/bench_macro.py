"""Whole programs, measured from outside: publishing, draining, round trips, idling, importing.

    nox -s bench

Each figure is the median of several runs, those of Celeriac and of Celery in turn, on the same machine; the ratio is
what to compare between machines. Celeriac uses the embedded broker with results at its default durability
(synchronous=FULL); Celery its best local setting (see macro/app_celery.py). Options: --quick, --json FILE.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MACRO = Path(__file__).parent / "macro"
sys.path.insert(0, str(MACRO))

from probe import read  # noqa: E402  it is beside the apps that the children import

REDIS = "redis://127.0.0.1:6379"
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


class Bench:
    """One peer in a fresh folder: what its client and its worker are run with."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.home = Path(tempfile.mkdtemp(prefix=f"bench-{peer}-"))
        self.environment = {
            **os.environ,
            "BENCH_HOME": str(self.home),
            "BENCH_PROBE": str(self.home),
            "BENCH_QUEUE": f"bench-{uuid.uuid4().hex}",
            "PYTHONPATH": str(MACRO),
        }
        # Programs as users run them: with their bytecode cached.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if redis_runs():
            self.environment["BENCH_REDIS"] = REDIS

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
        raise SystemExit(f"{self.peer}: only {read(self.home)[0]} of {count} tasks ran in {seconds} s")


def redis_runs() -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", 6379)) == 0


# -- what is measured ------------------------------------------------------------------------------


def publish_rate(command: str, count: int) -> Callable[[str], float]:
    def measure(peer: str) -> float:
        with Bench(peer) as bench:
            bench.client(command, 10)
            answer = bench.client(command, count)
            return answer["count"] / answer["seconds"]

    return measure


def drain_rate(count: int) -> Callable[[str], float]:
    """Tasks a second of one solo worker with results, from the first execution to the last."""

    def measure(peer: str) -> float:
        with Bench(peer) as bench:
            bench.client("publish_many", count)
            with bench.worker() as process:
                done, first, last = bench.wait_for(count, process)
                return (done - 1) / (last - first)

    return measure


def drain_cpu(count: int) -> Callable[[str], float]:
    """Microseconds of CPU of the worker's process per task, its start excluded."""

    def measure(peer: str) -> float:
        with Bench(peer) as bench, bench.worker() as process:
            bench.client("publish_many", 100)
            bench.wait_for(100, process)
            before = cpu_seconds(process.pid)
            bench.client("publish_many", count)
            bench.wait_for(count + 100, process)
            return (cpu_seconds(process.pid) - before) / count * 1e6

    return measure


def round_trip(quantile: float, count: int) -> Callable[[str], float]:
    """Milliseconds from `delay` to the result in the caller's hands, on an idle worker."""

    def measure(peer: str) -> float:
        with Bench(peer) as bench, bench.worker() as process:
            bench.client("round_trip", 20)
            bench.wait_for(20, process)
            samples = sorted(bench.client("round_trip", count)["samples"])
            return samples[int(quantile * (len(samples) - 1))] * 1e3

    return measure


def idle(kind: str, seconds: float) -> Callable[[str], float]:
    """Percent of a core, or MiB resident, of a worker with nothing to do."""

    def measure(peer: str) -> float:
        with Bench(peer) as bench, bench.worker() as process:
            bench.client("round_trip", 5)
            bench.wait_for(5, process)
            time.sleep(1)
            before, began = cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            if kind == "memory":
                return resident_mib(process.pid)
            return (cpu_seconds(process.pid) - before) / (time.monotonic() - began) * 100

    return measure


def import_ms(statement: str) -> Callable[[str], float]:
    """Milliseconds of one import statement, in which PEER and APP stand for the peer's module and class."""

    def measure(peer: str) -> float:
        said = statement.replace("PEER", peer).replace("APP", peer.capitalize())
        code = f"import time; t = time.perf_counter(); {said}; print((time.perf_counter() - t) * 1e3)"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        return float(done.stdout)

    return measure


def help_ms(program: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, check=True, env=environment)
    return (time.perf_counter() - began) * 1e3


def delayed_million(count: int) -> dict[str, float]:
    """What `count` tasks delayed by a day do to a worker's memory and to a task sent now (Celeriac alone)."""
    with Bench("celeriac") as bench, bench.worker() as process:
        bench.client("round_trip", 20)
        bench.wait_for(20, process)
        before = statistics.median(bench.client("round_trip", 200)["samples"])
        memory = resident_mib(process.pid)
        bench.client("publish_delayed", count)
        after = statistics.median(bench.client("round_trip", 200)["samples"])
        return {
            "memory before, MiB": memory,
            "memory after, MiB": resident_mib(process.pid),
            "round trip before, ms": before * 1e3,
            "round trip after, ms": after * 1e3,
        }


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


# -- the report ------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one run each")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--only", help="a pattern of the names of figures to measure")
    options = parser.parse_args()
    scale, runs = (10, 1) if options.quick else (1, 3)
    figures: list[tuple[str, Callable[[str], float], bool]] = [
        ("publish one by one, tasks/s", publish_rate("publish", 5000 // scale), True),
        ("publish in bulk, tasks/s", publish_rate("publish_many", 20_000 // scale), True),
        ("drain with results, solo, tasks/s", drain_rate(30_000 // scale), True),
        ("worker CPU per task, µs", drain_cpu(20_000 // scale), False),
        ("round trip p50, ms", round_trip(0.5, 500 // scale), False),
        ("round trip p99, ms", round_trip(0.99, 500 // scale), False),
        ("idle worker, % of a core", idle("cpu", 10 / scale + 1), False),
        ("idle worker, MiB resident", idle("memory", 1), False),
        ("import of the package, ms", import_ms("import PEER"), False),
        ("import of the app's class, ms", import_ms("from PEER import APP"), False),
        ("--help, ms", help_ms, False),
    ]
    if options.only:
        figures = [figure for figure in figures if re.search(options.only, figure[0])]
    print(f"Celery uses {'Redis' if redis_runs() else 'SQLite by SQLAlchemy'}; median of {runs} run(s) in turn.\n")
    print(f"{'':38}{'celeriac':>12}{'celery':>12}{'times better':>14}")
    table = {}
    for name, measure, more_is_better in figures:
        values: dict[str, list[float]] = {"celeriac": [], "celery": []}
        for _ in range(runs):
            for peer, seen in values.items():
                seen.append(measure(peer))
        ours, theirs = (statistics.median(seen) for seen in values.values())
        better = ours / theirs if more_is_better else theirs / max(ours, 1e-9)
        table[name] = {"celeriac": values["celeriac"], "celery": values["celery"], "better": better}
        print(f"{name:38}{ours:12.2f}{theirs:12.2f}{better:14.1f}", flush=True)
    if not options.only or re.search(options.only, "delayed"):
        delayed = 1_000_000 // scale
        print(f"\nwith {delayed:,} tasks delayed by a day:")
        table["delayed"] = delayed_million(delayed)
        for name, value in table["delayed"].items():
            print(f"  {name:36}{value:12.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
