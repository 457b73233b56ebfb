from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


def call(run: Run, proj: str, task: str, *options: str) -> str:
    sent = run("-A", proj, "call", f"{proj}.{task}", *options)
    assert sent.exit_code == 0, sent.stderr
    return sent.stdout.strip()


# -- call and result -------------------------------------------------------------------------------


def test_a_task_that_was_called_and_run_shows_its_result(run: Run, proj: str, worked: Run) -> None:
    task_id = call(run, proj, "add", "-a", "[2, 3]")
    assert run("-A", proj, "result", task_id).exit_code == 75

    assert worked().exit_code == 0

    shown = run("-A", proj, "result", task_id, "--timeout", "5")
    assert (shown.exit_code, shown.stdout) == (0, "5\n")


def test_a_task_that_failed_shows_why_and_ends_with_1(run: Run, proj: str, worked: Run) -> None:
    task_id = call(run, proj, "fail")
    worked()

    shown = run("-A", proj, "result", task_id, "--traceback")

    assert shown.exit_code == 1
    assert "FAILURE: ValueError: broken on purpose" in shown.stdout
    assert "Traceback (most recent call last)" in shown.stdout


def test_a_result_as_json_is_one_document(run: Run, proj: str, worked: Run) -> None:
    task_id = call(run, proj, "fail")
    worked()

    document = json.loads(run("-A", proj, "result", task_id, "--json").stdout)

    assert document["state"] == "FAILURE"
    assert document["result"] == {"type": "ValueError", "message": "broken on purpose"}


def test_a_result_that_does_not_come_in_time_ends_with_75(run: Run, proj: str) -> None:
    task_id = call(run, proj, "add", "-a", "[1, 2]")

    shown = run("-A", proj, "result", task_id, "--timeout", "0.01")

    assert shown.exit_code == 75
    assert shown.stdout.startswith("PENDING")


def test_results_that_are_not_kept_are_an_error_with_the_fix(run: Run, proj: str) -> None:
    shown = run("-A", proj, "--result-backend", "disabled", "result", "some-id")

    assert shown.exit_code == 64
    assert "Set `result_backend`" in shown.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["-a", "[1"], "is no JSON"),
        (["-a", "{}"], "must be a JSON list"),
        (["-k", "[]"], "must be a JSON object"),
        (["--eta", "tomorrow"], "is no moment"),
        (["--expires", "later"], "or a number of seconds"),
        (["--eta", "2030-01-01T00:00:00Z", "--countdown", "1"], "not both"),
        (["--priority", "-1"], "--priority"),
    ],
)
def test_an_option_of_call_that_makes_no_sense_is_a_usage_error(
    run: Run, proj: str, options: list[str], problem: str
) -> None:
    sent = run("-A", proj, "call", f"{proj}.add", *options)

    assert sent.exit_code == 2
    assert problem in sent.stderr


def test_a_call_of_a_task_that_is_not_registered_here_is_sent_with_a_note(run: Run, proj: str) -> None:
    sent = run("-A", proj, "call", f"{proj}.ad", "--json")

    assert sent.exit_code == 0
    assert f"Did you mean '{proj}.add'?" in sent.stderr
    assert json.loads(sent.stdout)["task"] == f"{proj}.ad"


def test_quiet_keeps_notes_away(run: Run, proj: str) -> None:
    assert run("-q", "-A", proj, "call", "unknown").stderr == ""


# -- queues ----------------------------------------------------------------------------------------


def test_queues_are_counted_for_people_and_for_programs(run: Run, proj: str) -> None:
    call(run, proj, "add", "-a", "[1, 2]")
    call(run, proj, "add", "-a", "[1, 2]", "--countdown", "1000")

    table = run("-A", proj, "queues").stdout.splitlines()
    data = json.loads(run("-A", proj, "queues", "--json").stdout)

    assert table[0].split() == ["Queue", "Waiting", "Delayed", "Held", "Oldest"]
    assert table[1].split()[:4] == ["work", "1", "1", "0"]
    assert (data[0]["queue"], data[0]["waiting"], data[0]["delayed"]) == ("work", 1, 1)


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), (None, 1, 1)])
def test_purging_asks_first(run: Run, proj: str, answer: str | None, code: int, left: int) -> None:
    call(run, proj, "add", "-a", "[1, 2]")

    purged = run("-A", proj, "queues", "purge", input=answer)

    assert purged.exit_code == code
    assert "Delete 1 messages of work" in purged.stderr
    assert json.loads(run("-A", proj, "queues", "--json").stdout)[0]["waiting"] == left


def test_purging_by_force_asks_nobody(run: Run, proj: str) -> None:
    call(run, proj, "add", "-a", "[1, 2]")

    purged = run("-A", proj, "queues", "purge", "work", "-f", "--json")

    assert json.loads(purged.stdout) == {"work": 1}
    assert purged.stderr == ""


# -- dead and parked -------------------------------------------------------------------------------


@pytest.fixture
def parked(run: Run, proj: str, worked: Run) -> str:
    """The id of a parked message."""
    run("-A", proj, "call", "unknown.task", "-a", "[1]")
    worked()
    listed = json.loads(run("-A", proj, "dead", "list", "--parked", "--json").stdout)
    assert [each["task"] for each in listed] == ["unknown.task"]
    return listed[0]["id"]


def test_a_parked_message_is_listed_apart_from_the_dead(run: Run, proj: str, parked: str) -> None:
    dead = run("-A", proj, "dead")
    listed = run("-A", proj, "dead", "list", "--parked")

    assert dead.stdout == "No dead messages.\n"
    assert "unknown.task" in listed.stdout.splitlines()[1]


def test_a_message_is_shown_with_headers_and_body(run: Run, proj: str, parked: str) -> None:
    shown = run("-A", proj, "dead", "show", parked)
    data = json.loads(run("-A", proj, "dead", "show", parked, "--json").stdout)

    assert "unknown.task" in shown.stdout
    assert json.loads(data["message"]["body"])[0] == [1]


def test_a_replayed_message_waits_on_its_queue_again(run: Run, proj: str, parked: str) -> None:
    replayed = run("-A", proj, "dead", "replay", parked)

    assert (replayed.exit_code, replayed.stdout) == (0, "1 messages replayed.\n")
    waiting = {each["queue"]: each["waiting"] for each in json.loads(run("-A", proj, "queues", "--json").stdout)}
    assert waiting["work"] == 1


@pytest.mark.parametrize("chosen", [["--parked"], ["--parked", "-t", "unknown.task"], ["--parked", "-Q", "work"]])
def test_discarding_by_choice_asks_first_and_deletes(run: Run, proj: str, parked: str, chosen: list[str]) -> None:
    refused = run("-A", proj, "dead", "discard", *chosen, input="n\n")
    assert refused.exit_code == 1

    discarded = run("-A", proj, "dead", "discard", *chosen, input="y\n")

    assert (discarded.exit_code, "1 messages discarded." in discarded.stdout) == (0, True)
    assert json.loads(run("-A", proj, "dead", "list", "--parked", "--json").stdout) == []


def test_a_choice_that_no_message_meets_does_nothing(run: Run, proj: str, parked: str) -> None:
    discarded = run("-A", proj, "dead", "discard", "--parked", "-t", "another.task", "-f")

    assert (discarded.exit_code, discarded.stdout) == (0, "0 messages discarded.\n")


def test_an_id_that_does_not_exist_is_refused_before_anything_is_done(run: Run, proj: str, parked: str) -> None:
    discarded = run("-A", proj, "dead", "discard", parked, "nothing", "-f")

    assert discarded.exit_code == 1
    assert "No message 'nothing'" in discarded.stderr
    assert run("-A", proj, "dead", "show", "nothing").exit_code == 1
    assert run("-A", proj, "dead", "show", parked).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["1", "--all"]])
def test_replay_wants_ids_or_a_choice_and_not_both(run: Run, proj: str, arguments: list[str]) -> None:
    assert run("-A", proj, "dead", "replay", *arguments).exit_code == 2


# -- what only reads -------------------------------------------------------------------------------


def test_settings_say_where_a_value_comes_from(run: Run, proj: str) -> None:
    env = {"CELERIAC_WORKER_CONCURRENCY": "3"}

    changed = json.loads(run("-A", proj, "settings", "--changed", "--json", env=env).stdout)
    one = run("-A", proj, "settings", "worker_concurrency", env=env).stdout

    assert {each["name"]: each["source"] for each in changed} == {
        "task_default_queue": "a keyword",
        "worker_concurrency": "CELERIAC_WORKER_CONCURRENCY",
    }
    assert "CELERIAC_WORKER_CONCURRENCY" in one


def test_settings_mask_the_password_of_the_broker(run: Run, proj: str) -> None:
    shown = run("-A", proj, "-b", "redis://me:geheim@host/0", "settings")

    assert "geheim" not in shown.output
    assert "redis://me:**@host/0" in shown.stdout


def test_a_setting_that_does_not_exist_is_answered_with_the_nearest(run: Run, proj: str) -> None:
    shown = run("-A", proj, "settings", "task_serialiser")

    assert shown.exit_code == 64
    assert "Did you mean 'task_serializer'?" in shown.stderr


def test_a_misspelt_variable_is_noticed(run: Run, proj: str) -> None:
    shown = run("-A", proj, "settings", "--changed", env={"CELERIAC_TASK_SERIALISER": "x", "CELERIAC_BENCH": "1"})

    assert "CELERIAC_TASK_SERIALISER is not read by anything" in shown.stderr
    assert "CELERIAC_BENCH" not in shown.stderr


def test_settings_come_from_the_module_that_config_names(run: Run, folder: Path, proj: str) -> None:
    (folder / f"{proj}_settings.py").write_text("task_time_limit = 9\n")

    shown = run("-A", proj, "--config", f"{proj}_settings", "settings", "task_time_limit", "--json")

    assert json.loads(shown.stdout)["value"] == 9


def test_plugins_are_listed_by_kind(run: Run, proj: str) -> None:
    data = json.loads(run("plugins", "transport", "--json").stdout)

    sqlite = next(each for each in data if each["name"] == "sqlite")
    assert {each["kind"] for each in data} == {"transport"}
    assert sqlite["error"] is None
    assert sqlite["capabilities"]["leases"] is True
    assert "leases" in run("plugins", "transport").stdout


def test_the_plugins_of_one_kind_are_compared(run: Run) -> None:
    head, *rows = run("plugins", "pool").stdout.splitlines()

    (threads,) = [row for row in rows if row.startswith("threads ")]
    assert head.split()[:5] == ["Name", "soft", "limits", "hard", "limits"]
    assert threads.split()[:3] == ["threads", "yes", "yes"]


def test_a_kind_of_plugin_that_does_not_exist_is_a_usage_error(run: Run) -> None:
    shown = run("plugins", "transports")

    assert shown.exit_code == 2
    assert "'transport'" in shown.stderr


@pytest.mark.parametrize("blueprint", ["worker", "consumer"])
def test_a_graph_is_drawn_without_starting_anything(run: Run, folder: Path, proj: str, blueprint: str) -> None:
    drawn = run("-A", proj, "graph", blueprint, "-P", "solo", "--format", "mermaid")

    assert "flowchart TD" in drawn.stdout
    assert not (folder / ".celeriac").exists()


def test_a_graph_can_be_written_to_a_file(run: Run, folder: Path, proj: str) -> None:
    drawn = run("-A", proj, "graph", "worker", "-P", "solo", "-o", "graph.txt")

    assert drawn.exit_code == 0
    assert "executor" in (folder / "graph.txt").read_text()


def test_a_report_names_versions_and_addresses_without_secrets(run: Run, proj: str) -> None:
    shown = run("-A", proj, "--result-backend", "memory://me:geheim@x", "report")
    data = json.loads(run("-A", proj, "report", "--json").stdout)

    assert "geheim" not in shown.output
    assert "CPython" in shown.stdout or "PyPy" in shown.stdout
    assert data["app"]["broker"].startswith("sqlite:///")
    assert data["app"]["tasks"] >= 4


def test_a_report_about_an_app_that_cannot_be_imported_says_so(run: Run, folder: Path) -> None:
    shown = run("-A", "nowhere_at_all", "report")

    assert shown.exit_code == 0
    assert "there is no module 'nowhere_at_all'" in shown.stdout


def test_the_shell_has_the_app_and_its_tasks(run: Run, proj: str) -> None:
    shown = run("-A", proj, "shell", "--python", input="print(app.main, add(1, 2))\n")

    assert f"{proj} 3" in shown.stdout


@pytest.mark.parametrize("flag", ["--ipython", "--bpython"])
def test_a_shell_that_is_not_installed_is_an_error_with_the_fix(run: Run, proj: str, flag: str) -> None:
    if importlib.util.find_spec({"--ipython": "IPython", "--bpython": "bpython"}[flag]) is not None:
        pytest.skip("it is installed here")

    shown = run("-A", proj, "shell", flag)

    assert shown.exit_code == 64
    assert "pip install" in shown.stderr
