"""The page about the command line says everything, and nothing that is not so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from celeriac.cli import exits
from celeriac.cli.main import celeriac

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("path", ALL)
def test_the_section_of_a_command_has_each_of_its_options_and_no_other(path: str) -> None:
    rows = [line.split("|")[1] for line in section(path).splitlines() if line.startswith("| `")]
    named = {flag for row in rows for flag in re.findall(r"`(-[-\w]+)", row)}

    assert named == ALL[path]


def test_every_exit_code_is_listed() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper()}

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)} == codes


def test_every_variable_of_an_option_of_the_program_is_listed() -> None:
    variables = {param.envvar for param in celeriac.params if isinstance(param.envvar, str)}

    assert variables <= set(re.findall(r"`(\w+)`", section("Environment variables")))
