"""The page about the command line says everything, and nothing that is not so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from celeriac.cli import exits
from celeriac.cli.main import celeriac
from celeriac.kernel import plugins
from celeriac.kernel.hooks import activate

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")

OF_PLUGINS = "Options of installed plugins"


def commands(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[tuple[str, set[str]]]:
    """Yield the path of each command and the names of its options."""
    yield path, {flag for param in command.params if isinstance(param, click.Option) for flag in param.opts}
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path, parent=parent)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, f"{path} {name}", context)


ALL = dict(commands(celeriac, "celeriac"))


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/reference/cli.md has no section {title!r}"
    return found[1]


def flags_listed(text: str) -> set[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {flag for row in rows for flag in re.findall(r"`(-[-\w]+)", row)}


@pytest.mark.parametrize("path", ALL)
def test_the_section_of_a_command_has_each_of_its_options_and_no_other(path: str) -> None:
    own, _, _ = section(path).partition(OF_PLUGINS)

    assert flags_listed(own) == ALL[path]


@pytest.mark.plugins
def test_the_options_that_plugins_add_to_the_worker_are_listed_apart() -> None:
    _, _, added = section("celeriac worker").partition(OF_PLUGINS)

    hooks = activate((), [each.name for each in plugins.installed("hooks")])

    assert flags_listed(added) == {flag for option in hooks.worker_options() for flag in option.opts}


def test_every_exit_code_is_listed() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper()}

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)} == codes


def test_every_variable_of_an_option_of_the_program_is_listed() -> None:
    variables = {param.envvar for param in celeriac.params if isinstance(param.envvar, str)}

    assert variables <= set(re.findall(r"`(\w+)`", section("Environment variables")))
