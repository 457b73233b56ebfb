"""This repository as data: its distributions, their modules, and what these import."""

from __future__ import annotations

import ast
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


BUILDS_ON = {"celeriac-librabbitmq": "celeriac-amqp"}
"""The one plugin that imports another, and why: docs/explanation/decisions/librabbitmq.md."""


@dataclass(frozen=True)
class Import:
    """One import: the full name of the module, where it stands, and when it runs.

    `when` is "load" for one that runs with its module, "call" for one inside a function, "types" for one that only
    type checkers see.
    """

    module: str
    line: int
    when: str


@dataclass(frozen=True)
class Module:
    """One source file; `name` is what one imports."""

    path: Path
    name: str

    @property
    def shown(self) -> str:
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else str(self.path)

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.shown)

    @cached_property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @cached_property
    def imports(self) -> list[Import]:
        return list(_imports(self.tree.body, self.package, "load"))


def _imports(body: list[Any], package: str, when: str) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            base = f"{parent}{node.module or ''}".rstrip(".")
            # `from celeriac import events` imports a module, `from celeriac.events import Event` does not.
            yield from (Import(f"{base}.{alias.name}", node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = node.body if isinstance(node.body, list) else []
            yield from _imports(inner, package, "types" if when == "types" else "call")
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node.body, package, "types")
            yield from _imports(node.orelse, package, when)
        else:
            yield from _imports(list(ast.iter_child_nodes(node)), package, when)


@dataclass(frozen=True)
class Distribution:
    """One folder with a pyproject.toml."""

    folder: Path

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "pyproject.toml").read_text())

    @property
    def project(self) -> dict[str, Any]:
        table: dict[str, Any] = self.pyproject["project"]
        return table

    @property
    def name(self) -> str:
        return str(self.project["name"])

    @property
    def import_name(self) -> str:
        return "celeriac" if self.folder.name == "core" else f"celeriac_{self.folder.name.replace('-', '_')}"

    @property
    def is_bundle(self) -> bool:
        return self.folder.parent.name == "bundles"

    @cached_property
    def modules(self) -> list[Module]:
        source = self.folder / "src"
        found = []
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            found.append(Module(path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)))
        return found


@cache
def repository(root: Path = ROOT) -> Repository:
    """Return the repository at `root`."""
    return Repository(root)


@cache
def noxfile() -> dict[str, Any]:
    """Return what noxfile.py defines. nox does not like it to be loaded twice."""
    return runpy.run_path(str(ROOT / "noxfile.py"))


@dataclass(frozen=True)
class Repository:
    """The folders that become distributions. The umbrella is the root itself and holds no code."""

    root: Path

    @cached_property
    def umbrella(self) -> Distribution:
        return Distribution(self.root)

    @cached_property
    def core(self) -> Distribution:
        return Distribution(self.root / "core")

    @cached_property
    def plugins(self) -> list[Distribution]:
        return [Distribution(path.parent) for path in sorted(self.root.glob("plugins/*/pyproject.toml"))]

    @cached_property
    def bundles(self) -> list[Distribution]:
        return [Distribution(path.parent) for path in sorted(self.root.glob("bundles/[!_]*/pyproject.toml"))]

    @property
    def with_code(self) -> list[Distribution]:
        return [self.core, *self.plugins, *self.bundles]

    @property
    def modules(self) -> list[Module]:
        return [module for distribution in self.with_code for module in distribution.modules]

    @cached_property
    def files(self) -> list[Path]:
        """Every file that is, or is about to be, in version control; of an unpacked archive every file."""
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        answer = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            paths = [self.root / name for name in answer.stdout.splitlines()]
        else:
            paths = [path for path in self.root.rglob("*") if not _is_made(path.relative_to(self.root))]
        return sorted(path for path in paths if path.is_file())


def _is_made(path: Path) -> bool:
    """Whether a path holds what was built or installed rather than written."""
    return any(part in {"__pycache__", "_build", "dist"} or part.startswith((".venv", ".nox")) for part in path.parts)
