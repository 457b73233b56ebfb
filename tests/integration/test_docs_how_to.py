"""The how-to guides are all in their index, and every command they name could be typed as it stands."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tree import ROOT, repository

from celeriac.cli.main import celeriac
from celeriac.config.table import TABLE

HOW_TO = ROOT / "docs" / "how-to"
PAGES = [path for path in repository().files if path.suffix == ".md" and path.is_relative_to(ROOT / "docs")]


def commands(text: str) -> Iterator[str]:
    """Yield the celeriac commands of a page: of console blocks, and between backticks."""
    for block in re.findall(r"(?m)^```console\n((?:.|\n)*?)^```$", text):
        yield from re.findall(r"(?m)^\$ (?:[A-Z_]+=\S+ )*(celeriac .+?)(?: &)?$", block)
    yield from re.findall(r"`(celeriac -[^`…]+)`", text)


def check(command: str) -> None:
    """Parse a command line as the program does, down to its last sub-command, without carrying it out.

    Raises: click.UsageError: there is no such command or option.
    """
    arguments = [word for word in shlex.split(command)[1:] if word != "..."]
    known: click.Command = celeriac
    parent: click.Context | None = None
    while True:
        context = known.make_context(known.name, arguments, parent=parent, resilient_parsing=False)
        if not isinstance(known, click.Group) or not context._protected_args:
            return
        name, found, arguments = known.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, name
        known, parent = found, context


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_every_command_on_the_page_exists_with_its_options(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        check(command)


@pytest.mark.parametrize("wrong", ["celeriac wroker", "celeriac -A shop worker --queus a", "celeriac dead lst"])
def test_a_command_that_does_not_exist_is_found(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        check(wrong)


def test_every_guide_is_in_the_index_once() -> None:
    listed = re.findall(r"(?m)^([a-z-]+)$", (HOW_TO / "index.md").read_text())

    assert sorted(listed) == sorted(path.stem for path in HOW_TO.glob("*.md") if path.stem != "index")


def test_the_unit_starts_a_worker_and_gives_it_longer_to_stop_than_it_takes() -> None:
    page = (HOW_TO / "run-a-worker.md").read_text()
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # names as they are written
    unit.read_string(re.findall(r"```ini\n((?:.|\n)*?)```", page)[0])
    allowed = re.findall(r"worker_shutdown_timeout_seconds=(\d+)", page)

    program, _, rest = unit["Service"]["ExecStart"].partition(" ")

    assert program.endswith("/bin/celeriac")
    check(f"celeriac {rest.replace('%%', '%')}")
    assert int(unit["Service"]["TimeoutStopSec"]) > int(allowed[0])


def test_the_defaults_that_migrants_are_told_are_those_of_the_settings() -> None:
    page = (HOW_TO / "migrate-from-celery.md").read_text()
    told = dict(re.findall(r"(?m)^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", page))
    shown = {True: "on", False: "off"}

    for name in ("task_acks_late", "task_reject_on_worker_lost"):
        assert told[name] == shown[TABLE[name].default]
    assert f"`task_max_deliveries`, {TABLE['task_max_deliveries'].default}" in page
    assert TABLE["task_revoke_expires_seconds"].default == 30 * 86400
    assert "remembered for 30 days" in page
