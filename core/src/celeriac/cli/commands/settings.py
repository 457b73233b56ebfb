"""`celeriac settings`: every value, where it comes from, and what it means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import click

from celeriac.cli.output import columns, note, print_json
from celeriac.cli.parameters import AS_JSON
from celeriac.cli.program import Program, pass_program

if TYPE_CHECKING:
    from celeriac.config.settings import Explained

__all__ = ["settings"]


@click.command()
@click.argument("name", required=False)
@click.option("--changed", is_flag=True, help="Only those that a source gives.")
@AS_JSON
@pass_program
def settings(program: Program, /, name: str | None, changed: bool, as_json: bool) -> None:
    """Show the settings of the app, or explain the one that is NAMEd.

    Passwords and secrets are masked.
    """
    from celeriac.cli.environment import misspelt  # noqa: PLC0415  half of the time that `--help` would take

    with program.app as app:
        conf = app.conf
        for sentence in misspelt(os.environ, conf, cast(click.Group, click.get_current_context().find_root().command)):
            note(sentence)
        explained = [conf.explain(each) for each in ([name] if name is not None else conf)]
    if changed:
        explained = [each for each in explained if each.source != "default"]
    if as_json:
        data = [_data(each) for each in explained]
        print_json(data[0] if name is not None and data else data)
    elif name is not None and explained:
        _print_one(explained[0])
    else:
        rows = [(each.name, _brief(each.shown), each.source, each.doc) for each in explained]
        columns(rows, ["Setting", "Value", "Source", "Meaning"], empty="Every setting has its default.")


def _data(each: Explained) -> dict[str, Any]:
    return {
        "name": each.name,
        "value": each.shown,
        "source": each.source,
        "default": each.default,
        "doc": each.doc,
    }


def _print_one(each: Explained) -> None:
    rows = [
        ("value", repr(each.shown)),
        ("source", each.source),
        ("default", repr(each.default)),
        ("variable", f"CELERIAC_{each.name.upper()}"),
        ("meaning", each.doc),
    ]
    columns(rows, [each.name, ""])


def _brief(value: Any, limit: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
