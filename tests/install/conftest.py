"""Fixtures of the tests that install what was built."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from environments import Built, Environment
from tree import ROOT


@pytest.fixture
def clean(tmp_path: Path) -> Environment:
    """Give a new, empty virtual environment."""
    return Environment.create(tmp_path / "env")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    named = os.environ.get("CELERIAC_DIST")
    if not named:
        pytest.skip("nothing is built: run `nox -s install`")
    wheels = {path.name.split("-")[0].replace("_", "-"): path for path in Path(named).glob("*.whl")}
    constraints = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    constraints.write_text("".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()))
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return Built(Path(named), wheels, constraints, groups["test"])
