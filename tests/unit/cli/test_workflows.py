"""`celeriac graph canvas`, and `celeriac result` on workflows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from celeriac.client.discovery import find_app
from celeriac.client.groupresult import GroupResult

Run = Callable[..., Result]

FLOW = """

from celeriac import chain, group

flow = chain(add.s(1, 2), group(add.s(3), add.s(4)))


def made():
    return flow


number = 7
"""


@pytest.fixture
def flow(folder: Path, proj: str) -> str:
    """The name of a module with a workflow, beside its tasks."""
    with (folder / f"{proj}.py").open("a") as module:
        module.write(FLOW)
    return proj


@pytest.mark.parametrize("name", ["flow", "made"])
def test_a_workflow_is_drawn_by_its_name_or_that_of_a_function(run: Run, flow: str, name: str) -> None:
    drawn = run("-A", flow, "graph", "canvas", f"{flow}:{name}")

    assert drawn.exit_code == 0, drawn.stderr
    assert drawn.stdout.startswith("chain of 2\n")


@pytest.mark.parametrize(("form", "head"), [("mermaid", "flowchart TD"), ("dot", "digraph workflow")])
def test_a_workflow_is_drawn_in_other_forms(run: Run, flow: str, form: str, head: str) -> None:
    assert run("-A", flow, "graph", "canvas", f"{flow}:flow", "--format", form).stdout.startswith(head)


@pytest.mark.parametrize("wrong", [[], ["{0}"], ["{0}:nothing"], ["{0}:number"]])
def test_what_is_no_workflow_is_refused_with_what_to_write(run: Run, flow: str, wrong: list[str]) -> None:
    refused = run("-A", flow, "graph", "canvas", *[each.format(flow) for each in wrong])

    assert refused.exit_code == 2
    assert "signature" in refused.stderr or "nothing" in refused.stderr


@pytest.fixture
def saved(run: Run, flow: str, worked: Run) -> GroupResult[int]:
    """The saved results of the workflow, once it has run."""
    with find_app(flow) as app:
        app.conf.update(result_extended=True)
        result: GroupResult[int] = app.signature(__import__(flow).flow).apply_async().save()
        worked()  # the first task, whose end sends the others
        worked()
    return result


def test_the_tree_of_a_workflow_shows_its_tasks_and_states(run: Run, flow: str, saved: GroupResult[int]) -> None:
    shown = run("-A", flow, "result", saved.id, "--tree")

    lines = shown.stdout.splitlines()
    assert shown.exit_code == 0, shown.stderr
    assert lines[0].startswith(f"{flow}.add  SUCCESS")
    assert lines[1].startswith("└─ group of 2  SUCCESS  2 ended")
    assert len(lines) == 4


def test_the_tree_is_found_from_any_of_its_tasks(run: Run, flow: str, saved: GroupResult[int]) -> None:
    document = json.loads(run("-A", flow, "result", saved.results[1].id, "--tree", "--json").stdout)

    assert document["id"] == saved.parent.id
    assert [each["state"] for each in document["children"][0]["children"]] == ["SUCCESS", "SUCCESS"]


def test_a_bar_shows_how_much_of_a_group_has_ended(run: Run, flow: str, saved: GroupResult[int]) -> None:
    shown = run("-A", flow, "result", saved.id, "--progress")

    assert (shown.exit_code, shown.stdout.count("2/2 100%")) == (0, 1)
    assert "\x1b" not in shown.stdout


def test_the_values_of_a_group_are_printed(run: Run, flow: str, saved: GroupResult[int]) -> None:
    assert json.loads(run("-A", flow, "result", saved.id).stdout) == [6, 7]


def test_a_task_has_no_bar(run: Run, flow: str, saved: GroupResult[int]) -> None:
    refused = run("-A", flow, "result", saved.results[0].id, "--progress")

    assert refused.exit_code == 2
    assert "save" in refused.stderr


def test_what_has_not_ended_ends_with_75(run: Run, flow: str) -> None:
    with find_app(flow) as app:
        result = app.signature(__import__(flow).flow).apply_async().save()

    waiting = run("-A", flow, "result", result.id)
    bar = run("-A", flow, "result", result.id, "--progress", "--timeout", "0.1")

    assert (waiting.exit_code, bar.exit_code) == (75, 75)
    assert "0 of 2" in waiting.stdout
    assert "0/2" in bar.stdout
