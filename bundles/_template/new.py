"""Copy this template to a bundle of another name: what `nox -s new -- NAME` runs."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

__all__ = ["copy"]

TEMPLATE = Path(__file__).parent
KIND_OF_GROUP = {
    "celeriac.transports": "transport",
    "celeriac.results": "results",
    "celeriac.serializers": "serializer",
    "celeriac.pools": "pool",
    "celeriac.coordinators": "coordinator",
}


def copy(root: Path, name: str) -> list[str]:
    """Make `bundles/NAME` in the repository at `root`, its extra and its page; return what was done, a line each.

    Raises: ValueError: the name is not one, or is taken; nothing was changed.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ValueError(f"{name!r} is no name of a bundle: lower-case letters and digits, joined by hyphens.")
    taken = [folder for folder in (root / "bundles" / name, root / "plugins" / name) if folder.exists()]
    if taken:
        raise ValueError(f"{taken[0].relative_to(root)} exists already. Choose another name.")
    folder, page = root / "bundles" / name, root / "docs" / "reference" / f"{name}.md"
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
        relative = source.relative_to(TEMPLATE)
        if "__pycache__" in relative.parts or relative.name == "new.py":
            continue
        target = page if relative.name == "page.md" else folder / renamed(str(relative), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.write_text(renamed(source.read_text(), name))
    register(root / "pyproject.toml", folder / "pyproject.toml", name)
    return [
        f"Made {folder.relative_to(root)} and {page.relative_to(root)}; its extra is in pyproject.toml.",
        f"It passes already: nox -s contract -- {name}",
        f"Next: put the driver into src/{package(name)}/_client.py and into its pyproject.toml,",
        "then declare in plugin.py what it can do.",
    ]


def package(name: str) -> str:
    return f"celeriac_{name.replace('-', '_')}"


def renamed(text: str, name: str) -> str:
    """Put the bundle's name for that of the template in each of its three forms."""
    text = text.replace("celeriac_acme", package(name))
    text = text.replace("Acme", "".join(part.capitalize() for part in name.split("-")))
    return text.replace("acme", name)


def register(umbrella: Path, bundle: Path, name: str) -> None:
    """Add the extra, what it brings, and the workspace source to the umbrella's pyproject.toml."""
    text = umbrella.read_text()
    project = tomllib.loads(bundle.read_text())["project"]
    text = add(text, "project.optional-dependencies", f'{name} = ["{project["name"]}=={project["version"]}"]')
    for group, entries in project["entry-points"].items():
        for entry in entries if group in KIND_OF_GROUP else ():
            text = add(text, 'project.entry-points."celeriac.extras"', f'"{KIND_OF_GROUP[group]}.{entry}" = "{name}"')
    umbrella.write_text(add(text, "tool.uv.sources", f"celeriac-{name} = {{ workspace = true }}"))


def add(text: str, table: str, line: str) -> str:
    """Add a line to a table of TOML text, in order; make the table before [build-system] if it is not there."""
    head = f"[{table}]\n"
    if head not in text:
        text = text.replace("[build-system]\n", f"{head}\n[build-system]\n", 1)
    before, after = text.split(head, 1)
    body, separator, rest = after.partition("\n[")
    lines = sorted([*body.strip().splitlines(), line])
    return f"{before}{head}{chr(10).join(lines)}\n{separator}{rest}"
