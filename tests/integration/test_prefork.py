"""Worker processes with children: what they run, how they stop, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefork_bench import children_of, lives
from running import eventually

from celeriac import Celeriac
from celeriac.errors import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

pytestmark = pytest.mark.timeout(90)

APP = """
import asyncio, logging, os, signal, time
from pathlib import Path
from celeriac import Celeriac

HERE = Path(__file__).parent
app = Celeriac("forked_app", broker=f"sqlite:///{HERE}/queue.db", backend=f"sqlite:///{HERE}/queue.db")
EARLY = []

@app.task
def pid():
    return os.getpid()

@app.task(track_started=True)
def tracked():
    while not (HERE / "go").exists():
        time.sleep(0.02)
    return os.getpid()

@app.task
def add(x, y):
    return x + y

@app.task
def hold(name, seconds=30.0):
    (HERE / f"{name}-{os.getpid()}").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (HERE / "go").exists():
        time.sleep(0.02)
    return name

@app.task
def die(number):
    os.kill(os.getpid(), number)
    time.sleep(60)

@app.task
def say(text):
    print(text)
    logging.getLogger("mine").warning("logged %s", text)

@app.task
async def nap():
    await asyncio.sleep(0.01)
    return os.getpid()

@app.task
def pass_on(number):
    return add.delay(number, 1).id

if os.environ.get("CONNECT_EARLY"):
    add.delay(20, 22)
    print("connected early")
"""


class Program:
    """A worker process in a folder of its own, with the app above."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "forked_app.py").write_text(textwrap.dedent(APP))
        (home / "tmp").mkdir()
        url = f"sqlite:///{home}/queue.db"
        self.client = Celeriac("client", broker=url, backend=url, set_as_current=False)
        self.process: subprocess.Popen[bytes] | None = None
        self.family: list[int] = []

    def start(self, *arguments: str, concurrency: int = 2, **environment: str) -> None:
        command = [sys.executable, "-m", "celeriac", "-A", "forked_app", "worker", "-c", str(concurrency), *arguments]
        with open(self.home / "log", "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                env={**os.environ, "TMPDIR": str(self.home / "tmp"), **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        eventually(lambda: "ready" in self.log() or self.process.poll() is not None, "the worker is ready", 30)
        assert self.process.poll() is None, self.log()
        eventually(lambda: len(self.children()) == concurrency, "the children are there", 30)
        self.family = [self.process.pid, self.zygote, *self.children()]

    @property
    def zygote(self) -> int:
        (pid,) = children_of(self.process.pid)
        return pid

    def children(self) -> list[int]:
        return [child for zygote in children_of(self.process.pid) for child in children_of(zygote)]

    def log(self) -> str:
        return "".join(path.read_text() for path in self.home.glob("*log"))

    def call(self, name: str, *args: object, **options: object):
        return self.client.send_task(f"forked_app.{name}", args=args, **options)

    def holding(self, name: str = "held", **options: object):
        """Call the task that holds its child, and wait until it does."""
        result = self.call("hold", name, **options)
        eventually(lambda: list(self.home.glob(f"{name}-*")), "the task runs", 30)
        return result

    def wait(self) -> int:
        return self.process.wait(30)

    def waiting(self) -> int:
        depth = self.client.connections.transport().depths(["celery"], timeout=5)[0]
        return depth.waiting

    def gone(self) -> None:
        """Check that none of its processes is left, nor any file of theirs."""
        eventually(lambda: not [pid for pid in self.family if lives(pid)], "no process is left", 20)
        eventually(lambda: not list((self.home / "tmp").iterdir()), "no file is left", 20)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    (tmp_path / "go").touch()
    made.client.close()
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_the_pool_of_a_worker_that_is_not_told_is_prefork(program: Program) -> None:
    program.start()

    pids = {program.call("pid").get(timeout=30) for _ in range(10)}

    assert pids <= set(program.children())
    assert program.call("nap").get(timeout=30) in program.children()
    assert "pool     prefork, 2 slots" in program.log()
    program.process.terminate()
    assert program.wait() == 0
    program.gone()


def test_what_children_log_and_print_goes_to_the_log_of_the_worker_with_their_names(program: Program) -> None:
    program.start("--logfile", str(program.home / "worker.log"))

    program.call("say", "one two three").get(timeout=30)

    lines = (program.home / "worker.log").read_text().splitlines()
    said = [line for line in lines if "one two three" in line]
    assert len(said) == 2
    assert all("/ForkPoolWorker-" in line for line in said)
    assert any("MainProcess" in line for line in lines)


def test_started_says_which_child_runs_a_task(program: Program) -> None:
    program.start()
    results = [program.call("tracked") for _ in range(2)]

    eventually(lambda: all(result.state == "STARTED" for result in results), "both are told as started", 30)
    told = [result.info["pid"] for result in results]
    (program.home / "go").touch()

    assert told == [result.get(timeout=30) for result in results]
    assert sorted(told) == sorted(program.children())


def test_a_warm_stop_waits_for_what_runs(program: Program) -> None:
    program.start(concurrency=1)
    held, waits = program.holding(), program.call("add", 1, 2)

    program.process.terminate()
    eventually(lambda: "warm shutdown" in program.log(), "it stops")
    (program.home / "go").touch()

    assert program.wait() == 0
    assert held.get(timeout=10) == "held"
    assert program.waiting() == 1
    assert waits.state == "PENDING"
    program.gone()


def test_ctrl_c_reaches_the_whole_group_and_harms_no_task(program: Program) -> None:
    program.start()
    held = program.holding()

    os.killpg(program.process.pid, signal.SIGINT)
    eventually(lambda: "warm shutdown" in program.log(), "it stops")
    (program.home / "go").touch()

    assert program.wait() == 0
    assert held.get(timeout=10) == "held"
    program.gone()


def test_a_cold_stop_hands_back_what_runs_and_ends_its_process(program: Program) -> None:
    program.start()
    program.holding()

    os.killpg(program.process.pid, signal.SIGQUIT)

    assert program.wait() == 1
    assert program.waiting() == 1
    program.gone()


def test_a_soft_stop_waits_a_while_and_then_hands_back(program: Program) -> None:
    program.start("worker_soft_shutdown_timeout=1")
    program.holding()
    begun = time.monotonic()

    program.process.send_signal(signal.SIGQUIT)

    assert program.wait() == 1
    assert time.monotonic() - begun >= 1
    assert program.waiting() == 1
    program.gone()


@pytest.mark.parametrize("busy", [False, True])
def test_nothing_is_left_of_a_worker_that_was_killed(program: Program, busy: bool) -> None:
    program.start()
    if busy:
        program.holding()

    program.process.kill()

    program.wait()
    program.gone()


def test_a_worker_whose_zygote_was_killed_says_so_and_ends(program: Program) -> None:
    program.start()
    held = program.holding()

    os.kill(program.zygote, signal.SIGKILL)

    assert program.wait() == 75
    assert "zygote" in program.log()
    assert held.state == "PENDING"
    assert program.waiting() == 1
    program.gone()


def test_a_killed_worker_and_its_killed_zygote_leave_no_child(program: Program) -> None:
    program.start()
    program.holding()
    zygote = program.zygote

    os.kill(program.process.pid, signal.SIGSTOP)
    os.kill(zygote, signal.SIGKILL)
    program.process.kill()

    program.wait()
    eventually(lambda: not [pid for pid in program.family if lives(pid)], "no process is left", 20)


def test_a_task_that_kills_its_process_fails_alone(program: Program) -> None:
    program.start()
    died = program.call("die", int(signal.SIGSEGV))
    others = [program.call("add", number, 1) for number in range(20)]

    with pytest.raises(WorkerLostError, match="SIGSEGV"):
        died.get(timeout=30)

    assert [other.get(timeout=30) for other in others] == list(range(1, 21))


def test_children_are_replaced_after_so_many_tasks(program: Program) -> None:
    program.start("--max-tasks-per-child", "2", concurrency=1)

    pids = [program.call("pid").get(timeout=30) for _ in range(6)]

    assert len(set(pids)) == 3
    assert pids == sorted(pids, key=pids.index)


def test_limits_of_the_command_line_end_a_task(program: Program) -> None:
    program.start("--soft-time-limit", "0.3", "--time-limit", "20")
    soft = program.call("hold", "soft")

    with pytest.raises(SoftTimeLimitExceeded):
        soft.get(timeout=30)


def test_a_hard_limit_of_a_call_ends_its_child_and_no_other(program: Program) -> None:
    program.start()
    held = program.holding()
    hard = program.call("hold", "hard", time_limit=0.5)

    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=30)

    (program.home / "go").touch()
    assert held.get(timeout=30) == "held"


def test_connections_that_the_app_opened_when_it_was_imported_serve_nobody_twice(program: Program) -> None:
    program.start(CONNECT_EARLY="1")

    ids = [program.call("pass_on", number).get(timeout=30) for number in range(10)]

    assert [program.client.AsyncResult(id_).get(timeout=30) for id_ in ids] == list(range(1, 11))
    assert "database is locked" not in program.log()


def test_fresh_processes_import_the_app_and_do_the_same(program: Program) -> None:
    program.start("--start-method", "spawn", "--max-tasks-per-child", "20")

    pids = {program.call("pid").get(timeout=30) for _ in range(4)}
    soft = program.call("hold", "soft", soft_time_limit=0.3)
    napped = program.call("nap").get(timeout=30)

    assert pids | {napped} <= set(program.children())
    with pytest.raises(SoftTimeLimitExceeded):
        soft.get(timeout=30)
    program.process.terminate()
    assert program.wait() == 0
    program.gone()


@pytest.mark.parametrize("form", ["text", "json"])
def test_fresh_processes_log_what_the_worker_logs_and_where(program: Program, form: str) -> None:
    log = program.home / "worker.log"
    arguments = ("--start-method", "spawn", "-l", "INFO", "--log-format", form, "-f", log.name)
    program.start(*arguments, "worker_log_format=%(levelname)s of %(processName)s: %(message)s")

    program.call("say", "one two three").get(timeout=30)

    lines = log.read_text().splitlines()
    said = [line for line in lines if "one two three" in line]
    assert len(said) == 2
    assert all(line.startswith("{") == (form == "json") for line in lines)
    assert any("ready" in line for line in lines)


def test_nothing_is_left_of_a_killed_worker_with_fresh_processes(program: Program) -> None:
    program.start("--start-method", "spawn")
    program.holding()

    program.process.kill()

    program.wait()
    program.gone()


def test_forking_beside_threads_of_the_app_is_warned_of_by_their_names(program: Program) -> None:
    app = program.home / "forked_app.py"
    app.write_text(
        app.read_text() + "\nimport threading\n"
        "threading.Thread(target=threading.Event().wait, name='of-the-app', daemon=True).start()\n"
    )

    program.start()

    assert "of-the-app" in program.log()
    assert program.call("add", 1, 2).get(timeout=30) == 3


def test_a_worker_says_nothing_of_threads_where_there_are_none(program: Program) -> None:
    program.start()

    assert "beside running threads" not in program.log()
