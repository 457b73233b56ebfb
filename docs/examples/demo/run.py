"""Count the identifiers of Python's standard library: two workers, one of them killed half-way, nothing lost.

    nox -s demo

1. Publish one task for each `.py` file of the standard library of the Python that runs this.
2. Start two workers on the embedded broker; at half of the results, kill one with SIGKILL and start another.
3. Show the commonest identifiers, tasks per worker, tasks that ran twice, tasks lost, and the rate.

Exits with 1 if the result of a file is missing, or if a task ran twice that no killed worker had held.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).parent
DEADLINE_SECONDS = 300


def main() -> int:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="celeriac-demo-") as home:
        os.environ["CELERIAC_DEMO_HOME"] = home
        sys.path.insert(0, str(HERE))
        from identifiers import app, count_identifiers  # noqa: PLC0415  it reads where the demo lives

        files = library_files()
        console.print(f"{len(files)} files of {sysconfig.get_paths()['stdlib']}")
        results = app.publish_many([count_identifiers.s(str(file)) for file in files])
        fleet = Fleet(Path(home))
        try:
            seconds = watch(fleet, results, console)
        finally:
            fleet.stop()
        return report(console, results, fleet, seconds)


def library_files() -> list[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    return sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts and path.is_file())


class Fleet:
    """The worker processes of the demo."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.killed: list[str] = []
        self.start("first")
        self.start("second")

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "celeriac", "-A", "identifiers", "worker", "-P", "solo", "-n", f"{name}@demo"]
        with open(self.home / f"{name}.log", "wb") as log:
            self.workers[f"{name}@demo"] = subprocess.Popen(
                [*command, "-l", "WARNING"], cwd=HERE, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self, name: str) -> None:
        self.workers[name].send_signal(signal.SIGKILL)
        self.workers[name].wait()
        self.killed.append(name)

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def check(self) -> None:
        for name, worker in self.workers.items():
            if name not in self.killed and worker.poll() is not None:
                log = (self.home / f"{name.partition('@')[0]}.log").read_text()
                raise SystemExit(f"Worker {name} ended with {worker.returncode}:\n{log}")


def watch(fleet: Fleet, results: Sequence, console: Console) -> float:
    """Show the progress until every result is there, and kill a worker half-way; return the seconds it took."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    waiting = list(results)
    began = time.monotonic()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("counting", total=len(waiting))
        while waiting and time.monotonic() - began < DEADLINE_SECONDS:
            time.sleep(0.1)
            waiting = [result for result in waiting if not result.ready()]
            done = len(results) - len(waiting)
            progress.update(bar, completed=done)
            if not fleet.killed and done >= len(results) // 2:
                fleet.kill("first@demo")
                fleet.start("third")
                progress.console.print(f"after {done} results: [red]first@demo killed (SIGKILL)[/], third@demo started")
            fleet.check()
    return time.monotonic() - began


def report(console: Console, results: Sequence, fleet: Fleet, seconds: float) -> int:
    """Print the tables and return the exit code."""
    total: Counter[str] = Counter()
    missing = []
    for result in results:
        if result.successful():
            total.update(result.result)
        else:
            missing.append(result)
    runs = runs_by_task(fleet.home / "runs.log")
    twice = {id_: workers for id_, workers in runs.items() if len(workers) > 1}
    unexplained = [id_ for id_, workers in twice.items() if not set(workers) & set(fleet.killed)]

    console.print(table("commonest identifiers", ["identifier", "count"], total.most_common(15)))
    per_worker = Counter(result.worker for result in results if result.ready())
    console.print(table("tasks per worker", ["worker", "results"], sorted(per_worker.items(), key=str)))
    rows = [
        ("tasks published", len(results)),
        ("tasks lost", len(missing)),
        ("tasks run twice (in flight at the kill)", len(twice) - len(unexplained)),
        ("tasks run twice (unexplained)", len(unexplained)),
        ("seconds, the kill included", f"{seconds:.1f}"),
        ("tasks a second", f"{len(results) / seconds:.0f}"),
    ]
    console.print(table("the run", ["", ""], rows))
    return 1 if missing or unexplained else 0


def runs_by_task(log: Path) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = defaultdict(list)
    for line in log.read_text().splitlines():
        id_, worker = line.split()
        runs[id_].append(worker)
    return runs


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    made = Table(title=title, title_justify="left", show_header=any(heads))
    for head in heads:
        made.add_column(head, justify="left" if head == heads[0] else "right")
    for row in rows:
        made.add_row(*map(str, row))
    return made


if __name__ == "__main__":
    raise SystemExit(main())
