"""The pages on calls and tasks have a line for every option, and for no other; defaults are those of the code."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from types import FunctionType
from typing import Any

import pytest
from tree import ROOT

from celeriac import Task
from celeriac.client import decorating
from celeriac.client.canvas.signing import Signing
from celeriac.client.context import Context
from celeriac.client.decorating import TASK_OPTIONS, declare_task
from celeriac.client.options import CALL_OPTIONS, FROM_SETTINGS

REFERENCE = ROOT / "docs" / "reference"
HANDLERS = {"after_return", "before_start", "on_bound", "on_failure", "on_retry", "on_success", "shadow_name"}


@cache
def rows(page: str) -> list[tuple[str, list[str]]]:
    """Return the rows of a page's tables: the heading above each, and its cells."""
    found, heading = [], ""
    for line in (REFERENCE / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            found.append((heading, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]))
    return found


def names(page: str, *headings: str) -> list[str]:
    """Return the names in the first cells of the tables below these headings."""
    return [
        name
        for heading, cells in rows(page)
        if heading in headings
        for name in re.findall(r"`(\w+)`", cells[0])
    ]  # fmt: skip


def popped(function: Any) -> set[str]:
    """Return the names of the options that a function takes out of a mapping."""
    tree = ast.parse(inspect.getsource(function))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return {ast.literal_eval(call.args[0]) for call in calls if call.func.attr == "pop"}  # type: ignore[attr-defined]


TASK_TABLES = ("Results and arguments", "Acknowledgement", "Limits", "Retries", "Of each of its calls", "Handlers")


def test_each_option_of_a_call_has_one_line() -> None:
    documented = names("calling.md", "When", "Where", "What runs", "What follows", "How it is published")

    assert sorted(documented) == sorted(CALL_OPTIONS)


def test_each_option_of_a_task_has_one_line() -> None:
    assert sorted(names("tasks.md", *TASK_TABLES)) == sorted(TASK_OPTIONS)


def test_each_option_of_the_decorator_itself_has_one_line() -> None:
    assert sorted(names("tasks.md", "Options of the decorator")) == sorted(popped(declare_task))


@pytest.mark.parametrize("option", sorted(TASK_OPTIONS - HANDLERS))
def test_the_default_of_an_option_is_the_one_the_page_gives(option: str) -> None:
    (default,) = [
        cells[1] for heading, cells in rows("tasks.md") if heading in TASK_TABLES and cells[0] == f"`{option}`"
    ]

    assert default == (f"`{FROM_SETTINGS[option]}`" if option in FROM_SETTINGS else f"`{getattr(Task, option)!r}`")


@pytest.mark.parametrize("handler", sorted(HANDLERS))
def test_the_arguments_of_a_handler_are_those_the_page_gives(handler: str) -> None:
    (arguments,) = [cells[1] for _, cells in rows("tasks.md") if cells[0] == f"`{handler}`"]

    assert arguments.split(", ") == list(inspect.signature(getattr(Task, handler)).parameters)[1:]


def test_each_method_of_a_task_has_an_entry() -> None:
    known = {**vars(Signing), **vars(Task)}
    methods = {name for name, value in known.items() if inspect.isfunction(value) and not name.startswith("_")}

    assert set(names("tasks.md", "Methods")) == methods - HANDLERS


def test_each_attribute_of_the_request_has_an_entry() -> None:
    methods = {name for name, value in vars(Context).items() if isinstance(value, classmethod | FunctionType)}
    own = {name for name in vars(Context) if not name.startswith("_")} - methods
    attributes = own | {"args", "kwargs", "delivery_info", "properties", "followups", "joins", "grows", "children"}

    assert sorted(names("tasks.md", "The request")) == sorted(attributes - {"entering"})
    assert attributes >= {name for name in vars(Context()) if name not in {"table", "embed"}}


def test_the_docstrings_name_the_pages() -> None:
    assert "docs/reference/tasks.md" in inspect.getsource(decorating)
    assert "docs/reference/calling.md" in (inspect.getdoc(Task.apply_async) or "")
