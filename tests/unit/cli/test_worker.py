from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from celeriac import events
from celeriac.cli.commands.worker import _for_node
from celeriac.cli.pidfile import CannotCreate, pidfile

Run = Callable[..., Result]


def test_a_worker_says_what_it_is_before_it_starts(worked: Run, proj: str) -> None:
    ran = worked("-n", "w1@here", "-Q", "work,other")

    assert ran.exit_code == 0
    assert re.search(rf"w1@here: app {proj}, \d+ tasks\n", ran.stderr)
    assert "queues   work, other" in ran.stderr


def test_what_a_task_prints_is_logged_as_its_own(run: Run, worked: Run, proj: str) -> None:
    task_id = run("-A", proj, "call", f"{proj}.say", "-a", '["hello there"]').stdout.strip()

    ran = worked(level="warning")

    assert f"{proj}.say[{task_id}]: hello there" in ran.stderr


def test_json_logs_are_one_object_a_line(worked: Run, proj: str) -> None:
    ran = worked("--log-format", "json", level="info")

    records = [json.loads(line) for line in ran.stderr.splitlines()]
    assert {"worker_ready", "broker_connected"} <= {record.get("event") for record in records}
    assert all({"time", "level", "logger", "message", "pid", "thread"} <= set(record) for record in records)


def test_a_log_file_is_named_by_the_node(worked: Run, folder: Path) -> None:
    worked("-n", "w1@here", "-f", "%n-%h.log", level="info")

    assert "w1@here ready" in (folder / "w1-here.log").read_text()


def test_options_that_are_settings_and_settings_as_arguments_win(worked: Run) -> None:
    ran = worked("-c", "1", "worker_concurrency=1", "task_track_started=yes", env={"CELERIAC_WORKER_CONCURRENCY": "8"})

    assert "pool     solo, 1 slots" in ran.stderr


def test_an_option_can_come_from_the_environment(worked: Run) -> None:
    ran = worked(env={"CELERIAC_WORKER_HOSTNAME": "w7@there"})

    assert "w7@there: app" in ran.stderr


def test_a_misspelt_variable_is_logged(worked: Run) -> None:
    ran = worked(level="warning", env={"CELERIAC_WORKER_CONCURENCY": "8"})

    assert "Did you mean CELERIAC_WORKER_CONCURRENCY?" in ran.stderr


def test_purge_empties_the_queues_first(run: Run, proj: str) -> None:
    pytest.importorskip("celeriac_solo", reason="the solo pool is not installed")
    run("-A", proj, "call", f"{proj}.add", "-a", "[1, 2]")

    def stop(sender: Any, **_: Any) -> None:
        sender.stop()

    events.worker_ready.connect(stop)
    try:
        ran = run("-A", proj, "worker", "-P", "solo", "--purge", "-l", "warning")
    finally:
        events.worker_ready.disconnect(stop)

    assert ran.exit_code == 0
    assert "1 messages purged from work" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-c", "0"], 2, "--concurrency"),
        (["-l", "LOUD"], 2, "--loglevel"),
        (["nonsense"], 2, "'nonsense' is no setting=value."),
        (["worker_concurency=3"], 64, "Did you mean 'worker_concurrency'?"),
        (["worker_concurrency=three"], 64, "must be an integer"),
        (["-P", "sollo"], 64, "Did you mean 'solo'?"),
        (["-P", "solo", "--time-limit", "5"], 64, "does not support `task_time_limit` (5)"),
        (["-P", "solo", "--max-tasks-per-child", "5"], 64, "does not support `worker_max_tasks_per_child` (5)"),
        (["--time-limit", "5", "--soft-time-limit", "6"], 64, "must be below"),
        (["-I", "not_there_at_all"], 64, "not_there_at_all"),
        (["--hostnam", "x"], 2, "--hostname"),
        (["-B"], 2, "periodic scheduler is a plugin"),
        (["-E"], 2, "events are a plugin"),
        (["--autoscale", "3,x"], 2, "the most and the fewest slots"),
        (["-P", "solo", "--autoscale", "3"], 64, "does not support `worker_autoscale` (3). These can: "),
        (["-D"], 2, "systemd"),
        (["--statedb", "x"], 2, "coordinator"),
    ],
)
def test_what_a_worker_cannot_do_is_refused_before_it_starts(
    run: Run, proj: str, folder: Path, arguments: list[str], code: int, said: str
) -> None:
    refused = run("-A", proj, "worker", *arguments)

    assert refused.exit_code == code
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / ".celeriac").exists()


def test_an_option_of_a_plugin_that_is_installed_activates_it(worked: Run) -> None:
    ran = worked("-P", "threads", "-c", "2", "--autoscale", "4,3", level="info")

    assert ran.exit_code == 0
    assert "autoscale: 2 -> 3 slots: between 3 and 4" in ran.stderr


def test_help_shows_the_options_that_would_activate_a_plugin(run: Run, proj: str) -> None:
    assert "--autoscale MAX,MIN" in run("-A", proj, "worker", "--help").output


def test_flags_that_switch_off_what_is_not_there_are_taken_with_a_note(worked: Run) -> None:
    ran = worked("--without-gossip", "--without-mingle", "-O", "fair")

    assert ran.exit_code == 0
    assert "--without-gossip, --without-mingle: nothing to switch off" in ran.stderr
    assert "-O fair changes nothing" in ran.stderr


def test_a_worker_that_would_know_no_task_is_refused(run: Run, folder: Path) -> None:
    refused = run("worker")

    assert refused.exit_code == 2
    assert "celeriac -A module worker" in refused.stderr


def test_an_option_of_the_app_is_taken_and_shown_by_help(run: Run, worked: Run, proj: str, folder: Path) -> None:
    with (folder / f"{proj}.py").open("a") as module:
        module.write(
            "import click\n"
            "from celeriac.events import worker_init\n"
            "app.user_options['worker'].add(click.Option(['--shade'], help='How dark.'))\n"
            "worker_init.connect(lambda sender, **_: print('options', sender.options))\n"
        )

    assert "How dark." in run("-A", proj, "worker", "--help").stdout
    assert "options {'shade': 'deep'}" in worked("--shade", "deep", level="warning").stderr


def test_help_works_although_the_app_does_not(run: Run, folder: Path) -> None:
    assert "--concurrency" in run("-A", "nowhere_at_all", "worker", "--help").stdout


def test_an_option_that_a_broken_app_might_have_is_answered_with_what_is_wrong_with_the_app(
    run: Run, folder: Path
) -> None:
    refused = run("-A", "nowhere_at_all", "worker", "--shade", "deep")

    assert refused.exit_code == 64
    assert "nowhere_at_all" in refused.stderr


# -- the pid file ----------------------------------------------------------------------------------


def test_a_pid_file_lives_as_long_as_its_worker(worked: Run, folder: Path) -> None:
    seen: list[str] = []
    (folder / "w.pid").write_text(f"{os.getpid()}\n")  # as a container leaves it that was killed

    ran = worked("--pidfile", "%n.pid", "-n", "w@here")

    assert (ran.exit_code, seen) == (0, [])
    assert not (folder / "w.pid").exists()


def test_a_pid_file_of_a_living_process_ends_with_73(run: Run, proj: str, folder: Path) -> None:
    (folder / "w.pid").write_text(f"{os.getppid()}\n")

    refused = run("-A", proj, "worker", "--pidfile", "w.pid")

    assert refused.exit_code == 73
    assert f"belongs to process {os.getppid()}" in refused.stderr
    assert (folder / "w.pid").exists()


def test_a_pid_file_holds_our_number_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "w.pid"

    with pidfile(str(path)):
        assert int(path.read_text()) == os.getpid()

    assert not path.exists()


@pytest.mark.parametrize("left", ["999999999\n", "no number", ""])
def test_a_pid_file_that_nobody_owns_is_taken_over(tmp_path: Path, left: str) -> None:
    path = tmp_path / "w.pid"
    path.write_text(left)

    with pidfile(str(path)):
        assert int(path.read_text()) == os.getpid()


def test_a_pid_file_that_another_process_has_taken_over_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.pid"

    with pidfile(str(path)):
        path.write_text("1\n")

    assert path.read_text() == "1\n"


def test_a_pid_file_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(CannotCreate, match="cannot be written") as caught, pidfile(str(tmp_path / "no" / "w.pid")):
        pytest.fail("it was written")

    assert caught.value.exit_code == 73


@pytest.mark.parametrize(
    ("path", "filled"),
    [("%n-%h.log", "w1-here.log"), ("%p%I.log", "w1@here.log"), ("%i%%n", "0%n"), ("plain", "plain"), (None, None)],
)
def test_a_path_is_filled_in_from_the_node_name(path: str | None, filled: str | None) -> None:
    assert _for_node(path, "w1@here") == filled


def test_standard_output_is_back_after_the_worker(worked: Run) -> None:
    before = sys.stdout, sys.stderr

    worked()

    assert (sys.stdout, sys.stderr) == before
