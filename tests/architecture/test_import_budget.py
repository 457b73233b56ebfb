"""`import celeriac` loads little. Time is measured by `nox -s bench`; here it is what gets loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tree import BUILDS_ON, repository


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after `statement` and had not before."""
    code = f"import sys\nbefore = set(sys.modules)\n{statement}\nprint(*(set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    return set(answer.stdout.split())


def test_importing_celeriac_loads_no_graph_library_no_entry_points_and_no_plugin() -> None:
    loaded = loaded_by("import celeriac")

    roots = {name.split(".")[0] for name in loaded}
    assert not roots & {"networkx", "pluggy", "click", "pytest", "asyncio"}
    assert "importlib.metadata" not in loaded
    assert not {root for root in roots if root.startswith("celeriac_")}


def test_importing_celeriac_loads_no_other_part_of_celeriac() -> None:
    loaded = loaded_by("import celeriac")

    assert {name for name in loaded if name.startswith("celeriac")} == {"celeriac"}


def test_making_an_app_loads_no_graph_library_and_no_plugin() -> None:
    loaded = loaded_by("import celeriac; app = celeriac.Celeriac('proj')\n@app.task\ndef add(x, y): return x + y")

    roots = {name.split(".")[0] for name in loaded}
    assert "networkx" not in roots
    assert not {root for root in roots if root.startswith("celeriac_")}


WITH_PLUGINS = [
    each for each in repository().with_code[1:] if any(module.path.name == "plugin.py" for module in each.modules)
]
"""Distributions that declare something; one of hooks alone has nothing to declare."""


@pytest.mark.parametrize("plugin", WITH_PLUGINS, ids=lambda plugin: plugin.folder.name)
def test_importing_a_declaration_loads_no_implementation_and_no_third_party(plugin) -> None:
    loaded = loaded_by(f"import {plugin.import_name}.plugin")

    roots = {name.split(".")[0].removesuffix("_") for name in loaded} - set(sys.stdlib_module_names)
    assert {root for root in roots if not root.startswith("_")} <= {
        "celeriac",
        "msgspec",
        "typing_extensions",
        plugin.import_name,
        BUILDS_ON.get(plugin.name, plugin.name).replace("-", "_"),
    }
    assert f"{plugin.import_name}.testing" not in loaded
