"""Core's layers: each imports only those to its left."""

from __future__ import annotations

import sys
from graphlib import TopologicalSorter

import pytest
from tree import Import, Module, repository

# Names between the same bars may import each other; no module may import itself by a detour.
LAYERS = "errors kernel | model spi | events config | client runtime greenlets | cli __main__ | testing"

GROUP = {name: number for number, group in enumerate(LAYERS.split("|")) for name in group.split()}
FREE = {"celeriac"}  # the lazy index of public names

CORE_MODULES = repository().core.modules
ALLOWED_LIBRARIES = {"click", "msgspec", "networkx", "pluggy"}
ALLOWED_IN = {"networkx": {"kernel", "client"}, "pluggy": {"kernel"}, "pytest": {"testing"}, "hypothesis": {"testing"}}


def layer_of(name: str) -> str:
    return name.split(".")[1] if name.startswith("celeriac.") else ""


def offence(module: Module, imported: Import) -> str | None:
    """Say what is wrong with one import of one core module, if anything is."""
    here, there = layer_of(module.name), layer_of(imported.module)
    if imported.module.split(".")[0] != "celeriac" or here == there or module.name in FREE:
        return None
    if not there and here in {"cli", "testing"}:
        return None  # they use the package as its users do
    if there not in GROUP:
        return f"takes {there!r} from the top of the package instead of from its home"
    if GROUP[there] > GROUP[here]:
        return f"imports {imported.module}, a layer to its right"
    return None


def test_each_layer_imports_only_those_to_its_left() -> None:
    offences = [
        f"{module.shown}:{imported.line} {what}"
        for module in CORE_MODULES
        for imported in module.imports
        if (what := offence(module, imported))
    ]

    assert not offences, "\n".join(offences)


def test_no_modules_import_each_other_in_a_circle_while_they_load() -> None:
    known = {module.name for module in CORE_MODULES} - FREE
    loads = {
        module.name: {
            home
            for imported in module.imports
            if imported.when == "load" and (home := home_of(imported.module, known)) not in {None, module.name}
        }
        for module in CORE_MODULES
    }

    assert list(TopologicalSorter(loads).static_order())


def home_of(imported: str, known: set[str]) -> str | None:
    """Return the module that an import names: `celeriac.errors` for `celeriac.errors.Retry`."""
    candidates = [imported, imported.rpartition(".")[0]]
    return next((name for name in candidates if name in known), None)


def test_every_module_of_core_is_in_a_layer() -> None:
    strays = [module.shown for module in CORE_MODULES if module.name not in FREE and layer_of(module.name) not in GROUP]

    assert not strays


@pytest.mark.parametrize(
    ("here", "imported", "allowed"),
    [
        ("celeriac.kernel.boot", Import("celeriac.errors.GraphError", 1, "load"), True),
        ("celeriac.kernel.boot", Import("celeriac.spi.declaration", 1, "call"), False),
        ("celeriac.client.app", Import("celeriac.runtime.worker", 1, "load"), True),
        ("celeriac.client.app", Import("celeriac.cli.main", 1, "call"), False),
        ("celeriac.model.message", Import("celeriac.spi.transport", 1, "types"), True),
        ("celeriac.runtime.worker", Import("celeriac.Celeriac", 1, "load"), False),
    ],
)
def test_the_rule_tells_good_imports_from_bad(here: str, imported: Import, allowed: bool) -> None:
    module = Module(CORE_MODULES[0].path, here)

    assert (offence(module, imported) is None) is allowed


def third_party(module: Module) -> list[tuple[Import, str]]:
    roots = ((imported, imported.module.split(".")[0]) for imported in module.imports)
    return [(imported, root) for imported, root in roots if root not in sys.stdlib_module_names and root != "celeriac"]


def test_core_imports_only_its_four_libraries_each_in_its_place() -> None:
    offences = []
    for module in CORE_MODULES:
        for imported, root in third_party(module):
            places = ALLOWED_IN.get(root, set(GROUP) | {"__main__"} if root in ALLOWED_LIBRARIES else set())
            if imported.when != "types" and layer_of(module.name) not in places:
                offences.append(f"{module.shown}:{imported.line} imports {root}")

    assert not offences, "\n".join(offences)


def test_networkx_is_imported_only_inside_functions() -> None:
    offences = [
        f"{module.shown}:{imported.line}"
        for module in CORE_MODULES
        for imported, root in third_party(module)
        if root == "networkx" and imported.when == "load"
    ]

    assert not offences
