"""What plugins and bundles may import, and what they must bring."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from functools import cache

import pytest
from tree import BUILDS_ON, Distribution, Module, repository

REPOSITORY = repository()
PLUGINS = [*REPOSITORY.plugins, *REPOSITORY.bundles]

each_plugin = pytest.mark.parametrize("distribution", PLUGINS, ids=lambda plugin: plugin.folder.name)


@cache
def import_names(requirement: str) -> frozenset[str]:
    """Return what one imports of a required distribution; its own name where it is not installed."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
    provided = importlib.metadata.packages_distributions()
    roots = {root for root, owners in provided.items() if name in {owner.lower().replace("_", "-") for owner in owners}}
    return frozenset(roots or {name.replace("-", "_")})


def allowed_roots(distribution: Distribution) -> set[str]:
    # msgspec: the records of the interfaces are its structs, so it comes with them. click: so are options of commands.
    allowed = {"celeriac", "click", "msgspec", distribution.import_name} | sys.stdlib_module_names
    if distribution.is_bundle:
        allowed |= {root for requirement in distribution.project["dependencies"] for root in import_names(requirement)}
    return allowed


@each_plugin
def test_a_plugin_imports_celeriac_and_the_standard_library_and_a_bundle_its_own_system_too(
    distribution: Distribution,
) -> None:
    allowed = allowed_roots(distribution)

    offences = [
        f"{module.shown}:{imported.line} imports {imported.module}"
        for module in distribution.modules
        for imported in module.imports
        if imported.module.split(".")[0] not in allowed
    ]

    assert not offences, "\n".join(offences)


@each_plugin
def test_no_plugin_depends_on_another_but_the_one_that_only_replaces_a_part_of_it(distribution: Distribution) -> None:
    required = [re.split(r"[^a-z-]", each, maxsplit=1)[0] for each in distribution.project["dependencies"]]
    ours = {name for name in required if name.startswith("celeriac")}

    assert ours == {"celeriac-core"} | {other for name, other in BUILDS_ON.items() if name == distribution.name}


@each_plugin
def test_only_testing_py_imports_the_testing_kit(distribution: Distribution) -> None:
    offences = [
        f"{module.shown}:{imported.line}"
        for module in distribution.modules
        for imported in module.imports
        if imported.module.startswith("celeriac.testing") and module.path.name != "testing.py"
    ]

    assert not offences


@each_plugin
def test_importing_the_declarations_imports_no_driver(distribution: Distribution) -> None:
    modules = {module.name: module for module in distribution.modules}
    declarations = modules.get(f"{distribution.import_name}.plugin")  # one that only adds hooks has none
    waiting, seen = [declarations] if declarations else [], set[str]()
    # The declarations of the one below import no driver either: they are checked themselves.
    below = BUILDS_ON.get(distribution.name, "").replace("-", "_") + ".plugin."
    drivers = []

    while waiting:
        module = waiting.pop()
        seen.add(module.name)
        for imported in module.imports:
            root = imported.module.split(".")[0]
            if imported.when == "load" and root == distribution.import_name:
                waiting += [home for home in homes(imported.module, modules) if home.name not in seen]
            elif imported.when != "load" or root == "celeriac" or imported.module.startswith(below):
                continue
            elif root not in sys.stdlib_module_names:
                drivers.append(f"{module.shown}:{imported.line} imports {imported.module}")

    assert not drivers, "\n".join(drivers)


def homes(name: str, modules: dict[str, Module]) -> list[Module]:
    """Return the modules that importing `name` runs."""
    parts = name.split(".")
    return [modules[step] for n in range(1, len(parts) + 1) if (step := ".".join(parts[:n])) in modules]


@each_plugin
def test_every_entry_point_is_declared_in_plugin_py(distribution: Distribution) -> None:
    groups = distribution.project.get("entry-points", {})

    assert groups
    for group, entries in groups.items():
        for name, target in entries.items():
            if group == "celeriac.harnesses":
                assert target == f"{distribution.import_name}.testing"
            elif group in ("celeriac.hooks", "celeriac.options"):
                assert target == f"{distribution.import_name}.hooks"
            elif group == "celeriac.patches":
                assert target == f"{distribution.import_name}.patches:patch"
            elif group.startswith("celeriac."):
                assert target.startswith(f"{distribution.import_name}.plugin:"), f"{group} {name}"


@each_plugin
def test_every_plugin_brings_a_contract_harness(distribution: Distribution) -> None:
    kinds_with_contract = {"transports", "results", "serializers", "pools", "coordinators"}
    groups = {group.removeprefix("celeriac.") for group in distribution.project.get("entry-points", {})}

    assert "harnesses" in groups or not groups & kinds_with_contract


@pytest.mark.parametrize("distribution", REPOSITORY.plugins, ids=lambda plugin: plugin.folder.name)
def test_a_folder_of_plugins_needs_no_third_party(distribution: Distribution) -> None:
    assert distribution.project["dependencies"] == [f"celeriac-core=={distribution.project['version']}"]
