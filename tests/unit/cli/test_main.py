from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from celeriac.cli.early import pool_name
from celeriac.cli.exits import exit_code
from celeriac.cli.main import celeriac
from celeriac.cli.program import run as run_with
from celeriac.client.app import Celeriac
from celeriac.errors import DeadlineExceeded, InternalError, InvalidSetting, TaskError
from celeriac.errors import TimeoutError as ResultTimeout

Run = Callable[..., Result]
COMMANDS = ["call", "dead", "graph", "plugins", "queues", "report", "result", "settings", "shell", "worker"]


def test_help_lists_every_command(run: Run) -> None:
    shown = run("--help")

    assert shown.exit_code == 0
    assert all(f"\n  {name} " in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_not_the_only_help_it_has(run: Run, name: str) -> None:
    shown = run(name, "--help")

    assert shown.exit_code == 0
    assert f"Usage: celeriac {name}" in shown.stdout


def test_the_version_is_that_of_the_distribution(run: Run) -> None:
    assert run("--version").stdout == "celeriac 0.1.0\n"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("wroker", "Did you mean 'worker'?"),
        ("purge", "Use 'celeriac queues purge'."),
        ("beat", "periodic scheduler is a plugin"),
        ("xyz", "No command 'xyz'."),
    ],
)
def test_an_unknown_command_is_answered_with_what_was_meant(run: Run, name: str, advice: str) -> None:
    shown = run(name)

    assert shown.exit_code == 2
    assert advice in shown.stderr


def test_importing_the_command_line_loads_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys, celeriac.cli.main; heavy = {'networkx', 'asyncio', 'pluggy', 'importlib.metadata',"
        " 'celeriac.client.app', 'celeriac.cli.commands.worker'}; print(sorted(heavy & set(sys.modules)))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout == "[]\n"


# -- the app ---------------------------------------------------------------------------------------


def test_an_app_that_does_not_exist_is_one_line_with_the_fix(run: Run, folder: Path) -> None:
    shown = run("-A", "nowhere_at_all", "queues")

    assert shown.exit_code == 64
    assert shown.stderr.count("\n") == 1
    assert shown.stderr.startswith("Error: -A nowhere_at_all: there is no module")


def test_a_module_that_cannot_be_imported_is_one_line_too(run: Run, folder: Path) -> None:
    (folder / "broken_module.py").write_text("1 / 0\n")

    shown = run("-A", "broken_module", "queues")

    assert shown.exit_code == 64
    assert "importing it failed with ZeroDivisionError: division by zero" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("asked", [{"CELERIAC_TRACEBACK": "1"}, {}])
def test_a_traceback_is_printed_where_it_was_asked_for(run: Run, folder: Path, asked: dict[str, str]) -> None:
    (folder / "broken_module.py").write_text("1 / 0\n")

    shown = run(*([] if asked else ["--traceback"]), "-A", "broken_module", "queues", env=asked)

    assert "Traceback (most recent call last)" in shown.stderr
    assert "broken_module.py" in shown.stderr


def test_the_app_can_come_from_the_environment(run: Run, proj: str) -> None:
    assert run("queues", env={"CELERIAC_APP": proj}).exit_code == 0


def test_the_app_is_looked_up_in_the_working_directory_that_was_named(
    run: Run, tmp_path: Path, proj: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")

    shown = run("--workdir", str(tmp_path), "-A", proj, "report")

    assert shown.exit_code == 0
    assert proj in shown.stdout
    assert Path.cwd() == tmp_path


def test_an_app_runs_the_command_line_itself(proj: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = Celeriac("mine", set_as_current=False)

    with pytest.raises(SystemExit) as caught:
        run_with(app, ["report"])

    assert caught.value.code == 0
    assert "app: mine" in capsys.readouterr().out


def test_a_broker_that_is_not_installed_is_refused_with_those_that_are(run: Run, proj: str) -> None:
    shown = run("-A", proj, "-b", "pigeon://host", "queues")

    assert shown.exit_code == 64
    assert "No transport 'pigeon'" in shown.stderr


def test_a_store_that_cannot_be_opened_ends_with_69(run: Run, proj: str, folder: Path) -> None:
    (folder / ".celeriac").write_text("a file where a directory should be")

    shown = run("-A", proj, "queues")

    assert shown.exit_code in (64, 69)
    assert shown.stderr.startswith("Error: ")


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidSetting("a", 1, "b"), 64),
        (DeadlineExceeded("x", 1.0), 69),
        (ResultTimeout("late"), 75),
        (InternalError("bug"), 70),
        (TaskError("failed"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


@pytest.fixture
def raising() -> Callable[[BaseException], None]:
    def add(error: BaseException) -> None:
        @celeriac.command("raises")
        def raises() -> None:
            raise error

    yield add
    celeriac.commands.pop("raises", None)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("surprise"), 70, "RuntimeError: surprise. Nobody foresaw this."),
        (RuntimeError(), 70, "RuntimeError. Nobody"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (click.Abort(), 130, "Interrupted."),
        (click.ClickException("as it is"), 1, "Error: as it is"),
        (DeadlineExceeded("The store", 2), 69, "Error: The store gave no answer within 2 s."),
    ],
)
def test_every_error_ends_in_one_line_and_its_code(
    run: Run, raising: Callable[[BaseException], None], error: BaseException, code: int, said: str
) -> None:
    raising(error)

    shown = run("raises")

    assert shown.exit_code == code
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "celeriac", "plugins", "--json"], stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)

    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr


# -- the pool, before anything is imported ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-A", "proj", "worker", "-P", "gevent"], "gevent"),
        (["worker", "-Pgevent"], "gevent"),
        (["worker", "--pool", "gevent", "-c", "2"], "gevent"),
        (["worker", "--pool=gevent"], "gevent"),
        (["worker", "-P"], None),
        (["worker"], None),
        (["call", "-P", "gevent"], None),
    ],
)
def test_the_name_of_the_pool_is_read_from_the_arguments(arguments: list[str], name: str | None) -> None:
    assert pool_name(arguments) == name


def test_the_name_of_the_pool_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_WORKER_POOL", "gevent")

    assert pool_name(["worker"]) == "gevent"
    assert pool_name(["worker", "-P", "solo"]) == "solo"


def install(folder: Path, name: str, entry_points: str, code: str) -> dict[str, str]:
    """Put a distribution into a folder; return the environment in which it is installed."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points)
    (folder / f"{name}.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_a_pool_that_patches_does_so_before_anything_of_celeriac_is_imported(folder: Path) -> None:
    env = install(
        folder,
        "patching",
        "[celeriac.patches]\nmonkey = patching:patch\n",
        "import sys\n"
        "def patch():\n"
        "    print(sorted(name for name in sys.modules if name.split('.')[0] in ('celeriac', 'click', 'msgspec')))\n",
    )

    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "worker", "-P", "monkey", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )

    assert done.stdout.splitlines()[0] == "['celeriac', 'celeriac.cli', 'celeriac.cli.early']"


@pytest.mark.parametrize("arguments", [["--help"], ["-A", "shop", "greet", "--loud"], ["greeet"]])
def test_a_command_of_another_distribution_is_listed_and_run_and_suggested(folder: Path, arguments: list[str]) -> None:
    (folder / "shop.py").write_text("from celeriac.client.app import Celeriac\napp = Celeriac('shop')\n")
    env = install(
        folder,
        "greeting",
        "[celeriac.commands]\ngreet = greeting:greet\n",
        "import click\n"
        "@click.command(help='Greet the app.')\n"
        "@click.option('--loud', is_flag=True)\n"
        "def greet(loud):\n"
        "    click.echo(f'hello {click.get_current_context().obj.app.main} {loud}')\n",
    )

    done = subprocess.run(
        [sys.executable, "-m", "celeriac", *arguments], capture_output=True, text=True, check=False, env=env
    )

    expected = {"--help": "greet     Greet the app.", "-A": "hello shop True", "greeet": "Did you mean 'greet'?"}
    assert expected[arguments[0]] in done.stdout + done.stderr
