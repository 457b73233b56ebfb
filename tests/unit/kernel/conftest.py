"""Distributions that exist for one test: their metadata and modules, on the path, as an installer leaves them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import networkx  # noqa: F401  before a test narrows the path
import pytest

from celeriac.kernel import plugins


class Install(Protocol):
    def __call__(
        self,
        name: str,
        entry_points: Mapping[str, Mapping[str, str]] = {},
        *,
        version: str = "1.0",
        requires: Sequence[str] = (),
        modules: Mapping[str, str] = {},
    ) -> Path: ...


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that is the only one where distributions are looked for besides the standard library's."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    outside = [entry for entry in sys.path if "site-packages" not in entry]
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(folder), *outside])
    plugins.clear_cache()
    yield folder
    plugins.clear_cache()
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Give a function that installs a distribution."""

    def write(
        name: str,
        entry_points: Mapping[str, Mapping[str, str]] = {},
        *,
        version: str = "1.0",
        requires: Sequence[str] = (),
        modules: Mapping[str, str] = {},
    ) -> Path:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        groups = [
            "\n".join([f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())])
            for group, entries in entry_points.items()
        ]
        (folder / "entry_points.txt").write_text("\n\n".join(groups) + "\n", encoding="utf-8")
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source, encoding="utf-8")
        plugins.clear_cache()
        return folder

    return write
