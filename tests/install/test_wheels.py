"""Every distribution installs from what was built, alone and as an extra, and keeps its contract there."""

from __future__ import annotations

import json
import os
import tarfile
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest
from environments import Built, Environment
from tree import BUILDS_ON, ROOT, Distribution, repository

REPOSITORY = repository()
PLUGINS = [*REPOSITORY.plugins, *REPOSITORY.bundles]
EXTRAS = [bundle.folder.name for bundle in REPOSITORY.bundles]
EVERY_NAME = {distribution.name for distribution in (REPOSITORY.umbrella, *REPOSITORY.with_code)}

# Those that run on whatever is installed; `test_<kind>_suite_*` show that a suite catches a broken plugin, and
# `test_*_everywhere` that other kinds of servers do as well.
SUITES = [
    str(path)
    for path in sorted((ROOT / "tests" / "contract").glob("test_*.py"))
    if "_suite_" not in path.name and not path.stem.endswith("_everywhere")
]

WITH_SUITE = {f"celeriac.{kind}" for kind in ("transports", "results", "coordinators", "serializers", "pools")}

LOAD_ALL = """
import importlib.metadata, sys
for entry in importlib.metadata.distribution(sys.argv[1]).entry_points:
    entry.load()
"""

INSTALLED = """
import celeriac, importlib.metadata, json
print(json.dumps([celeriac.__file__, *(found.name for found in importlib.metadata.distributions())]))
"""


def test_every_distribution_was_built_as_sdist_and_wheel(built: Built) -> None:
    sdists = {path.name.rpartition("-")[0].replace("_", "-") for path in built.folder.glob("*.tar.gz")}

    assert set(built.wheels) == sdists == EVERY_NAME


def test_every_archive_holds_its_licence_and_nothing_foreign(built: Built) -> None:
    for wheel in built.wheels.values():
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("licenses/LICENSE") for name in names), wheel.name
        assert not [name for name in names if "tests/" in name and "testing" not in name]
    for sdist in built.folder.glob("*.tar.gz"):
        with tarfile.open(sdist) as archive:
            names = archive.getnames()
        assert any(name.endswith("/LICENSE") for name in names), sdist.name
        assert not [name for name in names if "__pycache__" in name or "/.venv" in name]


@pytest.mark.parametrize("distribution", PLUGINS, ids=lambda plugin: plugin.folder.name)
def test_a_plugin_alone_with_core_passes_its_contract_suite(
    distribution: Distribution,
    clean: Environment,
    built: Built,
    tmp_path: Path,
) -> None:
    clean.install(str(built.wheels[distribution.name]), *built.tools, constraints=built.constraints)
    place, *names = json.loads(clean.run(clean.python, "-c", INSTALLED))

    report = tmp_path / "report.xml"
    options = ["-q", f"--junitxml={report}", "-p", "no:cacheprovider"]
    options += ["--reruns=1", "--timeout=90"] if os.environ.get("CI") else []  # as in noxfile.py
    clean.run(clean.python, "-m", "pytest", *SUITES, *options, cwd=ROOT)

    assert Path(place).is_relative_to(clean.folder)
    below = {other for name, other in BUILDS_ON.items() if name == distribution.name}
    assert {name for name in names if name.startswith("celeriac")} == {"celeriac-core", distribution.name, *below}
    counts = ET.parse(report).getroot()[0].attrib
    passed = int(counts["tests"]) - int(counts["skipped"]) - int(counts["failures"]) - int(counts["errors"])
    if WITH_SUITE & set(distribution.project["entry-points"]):
        assert passed > 0
    else:  # hooks alone, of which there is no contract but that they load
        clean.run(clean.python, "-c", LOAD_ALL, distribution.name)


def test_core_alone_imports_and_says_what_is_missing(clean: Environment, built: Built) -> None:
    clean.install(str(built.wheels["celeriac-core"]), constraints=built.constraints)

    said = clean.run(
        clean.python,
        "-c",
        "from celeriac.kernel import plugins\n"
        "from celeriac.errors import UnknownPlugin\n"
        "try: plugins.load('transport', 'sqlite')\n"
        "except UnknownPlugin as error: print(error)",
    )

    assert "No transport 'sqlite'" in said


TASK = """
from celeriac import Celeriac
app = Celeriac("shop")

@app.task
def add(x: int, y: int) -> int:
    return x + y

if __name__ == "__main__":
    result = add.delay(2, 3)
    print(result.id)
"""


def test_the_umbrella_brings_all_plugins_and_the_command(clean: Environment, built: Built) -> None:
    clean.install(str(built.wheels["celeriac"]), constraints=built.constraints)
    (clean.folder / "shop.py").write_text(TASK)

    listed = json.loads(clean.run(str(Path(clean.python).parent / "celeriac"), "plugins", "--json"))
    sent = clean.run(clean.python, "shop.py")

    assert {row["distribution"] for row in listed} >= {plugin.name for plugin in REPOSITORY.plugins}
    assert len(sent.strip()) == 36


def test_every_extra_brings_its_bundle(built: Built, tmp_path: Path) -> None:
    for extra in EXTRAS:
        environment = Environment.create(tmp_path / extra)
        umbrella = f"celeriac[{extra}] @ {built.wheels['celeriac'].as_uri()}"

        environment.install(umbrella, constraints=built.constraints)

        assert f"celeriac-{extra}" in json.loads(environment.run(environment.python, "-c", INSTALLED))


def test_the_extras_of_the_built_umbrella_are_the_folders_of_bundles(built: Built) -> None:
    with zipfile.ZipFile(built.wheels["celeriac"]) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(metadata).decode().splitlines()

    assert [line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra")] == EXTRAS
