"""The distributions agree: one version, exact pins, extras equal to folders, complete folders."""

from __future__ import annotations

import pytest
from tree import ROOT, Distribution, repository

from celeriac.kernel.plugins import KINDS

WITH_DECLARATION = {"transport", "results", "serializer", "pool", "coordinator", "schedule"}
REPOSITORY = repository()
UMBRELLA = REPOSITORY.umbrella
VERSION = UMBRELLA.project["version"]
ALL = [UMBRELLA, *REPOSITORY.with_code]

each_with_code = pytest.mark.parametrize(
    "distribution", REPOSITORY.with_code, ids=lambda distribution: distribution.folder.name
)
each = pytest.mark.parametrize("distribution", ALL, ids=lambda distribution: distribution.name)


def test_extras_are_the_folders_of_bundles() -> None:
    extras = UMBRELLA.project.get("optional-dependencies", {})

    assert sorted(extras) == [bundle.folder.name for bundle in REPOSITORY.bundles]
    for name, requirements in extras.items():
        assert requirements == [f"celeriac-{name}=={VERSION}"]


def test_the_umbrella_says_which_extra_brings_which_plugin() -> None:
    kinds = {group: kind for kind, group in KINDS.items()}
    brought = {
        f"{kinds[group]}.{name}": bundle.folder.name
        for bundle in REPOSITORY.bundles
        for group, entries in bundle.project["entry-points"].items()
        for name in entries
        if kinds.get(group) in WITH_DECLARATION
    }
    said = UMBRELLA.project.get("entry-points", {}).get("celeriac.extras", {})

    assert {name: extra for name, extra in said.items() if not name.startswith("key.")} == brought


def test_the_umbrella_pins_core_and_every_plugin() -> None:
    """And prefork, the default pool, wherever it can run."""
    expected = [f"{distribution.name}=={VERSION}" for distribution in (REPOSITORY.core, *REPOSITORY.plugins)]
    expected.append(f"celeriac-prefork=={VERSION}; sys_platform != 'win32'")

    assert sorted(UMBRELLA.project["dependencies"]) == sorted(expected)


def test_the_workspace_knows_every_distribution() -> None:
    sources = UMBRELLA.pyproject["tool"]["uv"]["sources"]

    assert sorted(sources) == sorted(distribution.name for distribution in REPOSITORY.with_code)


@each
def test_all_share_one_version_and_one_licence(distribution: Distribution) -> None:
    assert distribution.project["version"] == VERSION
    assert distribution.project["license"] == "BSD-3-Clause"
    assert distribution.project["requires-python"] == UMBRELLA.project["requires-python"]
    assert (distribution.folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@each
def test_pins_inside_the_project_are_exact(distribution: Distribution) -> None:
    ours = [item for item in distribution.project.get("dependencies", []) if item.startswith("celeriac")]

    assert all(item.partition(";")[0].endswith(f"=={VERSION}") for item in ours)
    assert ours or distribution is REPOSITORY.core


@each_with_code
def test_a_distribution_is_named_after_its_folder_and_complete(distribution: Distribution) -> None:
    source = distribution.folder / "src" / distribution.import_name

    assert distribution.name == f"celeriac-{distribution.folder.name}"
    assert (source / "py.typed").exists()
    assert (source / "__init__.py").exists()
    assert distribution.pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        f"src/{distribution.import_name}"
    ]
    assert (distribution.folder / "README.md").read_text().startswith(f"# {distribution.name}\n")


@each_with_code
def test_every_folder_of_source_is_a_package(distribution: Distribution) -> None:
    source = distribution.folder / "src" / distribution.import_name

    missing = {path.parent for path in source.rglob("*.py")} - {path.parent for path in source.rglob("__init__.py")}

    assert not missing
