"""`celeriac report`: what a bug report needs, without secrets."""

from __future__ import annotations

import platform
import sys
from typing import Any

import click

from celeriac.cli.output import print_json
from celeriac.cli.parameters import AS_JSON
from celeriac.cli.program import Program, pass_program
from celeriac.errors import CeleriacError
from celeriac.kernel import plugins

__all__ = ["report"]


@click.command()
@AS_JSON
@pass_program
def report(program: Program, /, as_json: bool) -> None:
    """Print versions, plugins, addresses and changed settings: paste it into a bug report."""
    facts = {"software": _software(), "plugins": _plugins(), **_app(program)}
    if as_json:
        print_json(facts)
        return
    for title, rows in facts.items():
        click.echo(click.style(title, bold=True))
        for name, value in rows.items():
            click.echo(f"  {name}: {value}")
    click.echo()


def _software() -> dict[str, str]:
    from importlib.metadata import version  # noqa: PLC0415  15 ms that only this command pays

    names = ("celeriac-core", "click", "msgspec", "networkx", "pluggy")
    return {
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "platform": platform.platform(),
        **{name: version(name) for name in names},
    }


def _plugins() -> dict[str, str]:
    found: dict[str, str] = {}
    for plugin in plugins.installed():
        problem = f" (broken: {plugin.error})" if plugin.error else ""
        found[f"{plugin.kind} {plugin.name}"] = f"{plugin.distribution} {plugin.version}{problem}"
    return found


def _app(program: Program) -> dict[str, dict[str, Any]]:
    """Describe the app; one that cannot be made is part of the report, not the end of it."""
    try:
        with program.app as app:
            conf = app.conf
            explained = [each for each in map(conf.explain, conf) if each.source != "default"]
            results = app.connections.results_address
            about = {
                "app": app.main or "-",
                "broker": app.connections.broker_address.masked,
                "results": results.masked if results is not None else "disabled",
                "tasks": len(app.tasks),
            }
    except CeleriacError as error:
        return {"app": {"error": str(error)}}
    return {"app": about, "settings": {each.name: f"{each.shown!r} (from {each.source})" for each in explained}}
