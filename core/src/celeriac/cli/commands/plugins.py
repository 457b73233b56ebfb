"""`celeriac plugins`: what is installed, what it can do, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import asdict

from celeriac.cli import exits
from celeriac.cli.output import columns, print_json
from celeriac.cli.parameters import AS_JSON
from celeriac.errors import nearest
from celeriac.kernel import plugins as discovery

__all__ = ["plugins"]


@click.command()
@click.argument("kind", required=False)
@click.option("--broken", is_flag=True, help="Only those that cannot be loaded.")
@AS_JSON
def plugins(kind: str | None, broken: bool, as_json: bool) -> int:
    """List the installed plugins, or those of one KIND; test harnesses only if asked for by `harness`.

    Each is loaded to see whether it can be. Ends with 1 when one cannot.
    """
    if kind is not None and kind not in discovery.KINDS:
        raise click.UsageError(
            f"No kind {kind!r}.{nearest(kind, discovery.KINDS)} Kinds: {', '.join(discovery.KINDS)}."
        )
    # Harnesses are for tests, which bring what these need; whoever runs tasks need not have it.
    found = [_row(plugin) for plugin in discovery.installed(kind) if kind or plugin.kind != "harness"]
    failed = [row for row in found if row["error"]]
    shown = failed if broken else found
    if as_json:
        print_json(shown)
    elif kind and found and not broken and not failed and all(row["capabilities"] for row in found):
        _compare(found)
    else:
        rows = [
            (each["kind"], each["name"], each["distribution"], each["version"], each["error"] or _can(each))
            for each in shown
        ]
        columns(rows, ["Kind", "Name", "Distribution", "Version", "Can"], empty="No plugin." if not broken else "None.")
    return exits.FAILURE if failed else exits.OK


def _row(plugin: discovery.PluginInfo) -> dict[str, Any]:
    declared = plugin.declaration
    capabilities = getattr(declared, "capabilities", None)
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "summary": getattr(declared, "summary", None),
        "capabilities": asdict(capabilities) if isinstance(capabilities, Struct) else None,
        "options": {
            name: {"type": option.type.__name__, "default": option.default, "doc": option.doc}
            for name, option in getattr(declared, "options", {}).items()
        },
        "error": plugin.error,
    }


def _compare(rows: list[dict[str, Any]]) -> None:
    """Print plugins of one kind against what they can do: a column for each capability that is a yes or a no."""
    flags = [name for name, value in rows[0]["capabilities"].items() if isinstance(value, bool)]
    lines = []
    for row in rows:
        capabilities = row["capabilities"]
        others = {name: value for name, value in capabilities.items() if name not in flags}
        marks = ["yes" if capabilities.get(flag) else "-" for flag in flags]
        lines.append((row["name"], *marks, ", ".join(_words(others)) or "-"))
    columns(lines, ["Name", *(flag.replace("_", " ") for flag in flags), "Also"], empty="No plugin.")


def _can(row: dict[str, Any]) -> str:
    return ", ".join(_words(row["capabilities"] or {})) or row["summary"] or "-"


def _words(capabilities: dict[str, Any]) -> Iterator[str]:
    for name, value in capabilities.items():
        label = name.replace("_", " ")
        if value is True:
            yield label
        elif isinstance(value, set | frozenset | list | tuple):
            yield from [f"{label}: {' '.join(sorted(map(str, value)))}"] if value else []
        elif value not in (False, None, 0):
            yield f"{label}: {value}"
