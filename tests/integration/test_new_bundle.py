"""A bundle copied from the template is whole: it keeps its contract and the rules of the repository from the start."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tree import ROOT, Distribution, Repository, noxfile, repository

pytestmark = pytest.mark.timeout(120)

copy: Callable[[Path, str], list[str]] = runpy.run_path(str(ROOT / "bundles/_template/new.py"))["copy"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a copy of this repository's files."""
    for path in repository().files:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


def install(bundle: Path, site: Path) -> None:
    """Do what an installer would: make the entry points known. The sources stay where they are."""
    folder = site / f"{bundle.name}-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: celeriac-{bundle.name}\nVersion: 0.1.0\n")
    lines = []
    for group, entries in Distribution(bundle).project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines))


def pytest_in(clone: Path, *args: str) -> subprocess.CompletedProcess[str]:
    paths = [str(clone / "site"), *(str(source) for source in clone.glob("bundles/[!_]*/src"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, timeout=110, check=False)


def test_a_new_bundle_passes_its_contract_and_the_architecture_tests(clone: Path) -> None:
    copy(clone, "fast-shelf")
    install(clone / "bundles" / "fast-shelf", clone / "site")

    rules = ("distributions", "plugins")
    architecture = pytest_in(clone, *(f"tests/architecture/test_{name}.py" for name in rules))
    contract = pytest_in(clone, "tests/contract", "-k", "fast-shelf")

    assert architecture.returncode == 0, architecture.stdout
    assert contract.returncode == 0, contract.stdout
    assert " passed" in contract.stdout


def test_a_new_bundle_is_an_extra_that_says_what_it_brings(clone: Path) -> None:
    before = Repository(clone).umbrella.project

    copy(clone, "shelf")
    copy(clone, "attic")

    after = Repository(clone).umbrella.project
    assert after["optional-dependencies"] == {
        **before["optional-dependencies"],
        "attic": [f"celeriac-attic=={after['version']}"],
        "shelf": [f"celeriac-shelf=={after['version']}"],
    }
    brought = {"results.attic": "attic", "results.shelf": "shelf"}
    assert after["entry-points"]["celeriac.extras"] == {**before["entry-points"]["celeriac.extras"], **brought}
    assert "acme" not in "".join(
        path.read_text().lower() for path in (clone / "bundles" / "shelf").rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(("name", "problem"), [("Shelf", "no name"), ("../x", "no name"), ("sqlite", "exists already")])
def test_a_bad_or_taken_name_is_refused_and_changes_nothing(clone: Path, name: str, problem: str) -> None:
    before = (clone / "pyproject.toml").read_text()

    with pytest.raises(ValueError, match=problem):
        copy(clone, name)

    assert (clone / "pyproject.toml").read_text() == before


def test_a_release_changes_every_version_and_pin(clone: Path) -> None:
    copy(clone, "shelf")
    noxfile()["rewrite_version"](clone, "7.8.9")

    tree = Repository(clone)
    for distribution in (tree.umbrella, *tree.with_code):
        text = (distribution.folder / "pyproject.toml").read_text()
        assert distribution.project["version"] == "7.8.9"
        assert "0.1.0" not in text
        assert distribution is tree.core or "==7.8.9" in text
    rules = pytest_in(clone, "tests/architecture/test_distributions.py")
    assert rules.returncode == 0, rules.stdout
