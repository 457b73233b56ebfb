"""Every public name has one home, which lists it in `__all__`."""

from __future__ import annotations

import ast
import importlib

import pytest
from tree import Module, repository

import celeriac

MODULES = [
    module
    for module in repository().core.modules
    if module.path.name not in {"__init__.py", "__main__.py"} and "__all__" in module.text
]
PRIVATE_MODULES = {module.name for module in repository().modules if module.path.name.startswith("_")}

OPEN_TO_AUTHORS = {"errors", "events", "kernel", "model", "spi", "config"}
"""Layers that authors of plugins import from module by module; names of the others are ours or in `celeriac`."""

each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def defined(module: Module) -> set[str]:
    """Return the names that a module makes at its top level, imports excluded."""
    names: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


@each_module
def test_what_a_module_lists_it_defines_itself(module: Module) -> None:
    listed = importlib.import_module(module.name).__all__

    assert len(listed) == len(set(listed))
    assert set(listed) <= defined(module)


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if module.name.split(".")[1] in OPEN_TO_AUTHORS],
    ids=lambda module: module.name,
)
def test_classes_and_functions_that_are_not_listed_are_private(module: Module) -> None:
    listed = set(importlib.import_module(module.name).__all__)
    made = {node.name for node in module.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    assert {name for name in made if not name.startswith("_")} <= listed


def test_every_module_of_the_interfaces_and_the_model_lists_its_names() -> None:
    listed = {module.name for module in MODULES}
    inner = [module for module in repository().core.modules if module.path.parent.name in {"spi", "model", "kernel"}]

    silent = [module.name for module in inner if module.path.name != "__init__.py" and module.name not in listed]

    assert not silent


def test_each_name_of_the_top_package_is_listed_by_exactly_one_module_that_has_it() -> None:
    modules = [importlib.import_module(module.name) for module in MODULES]

    for name in celeriac.__all__:
        value = getattr(celeriac, name)
        homes = [module.__name__ for module in modules if name in module.__all__ and getattr(module, name) is value]
        assert len(homes) == 1, f"{name}: {homes}"


def test_no_module_takes_a_private_name_of_another() -> None:
    offences = [
        f"{module.shown}:{imported.line} imports {imported.module}"
        for module in repository().modules
        for imported in module.imports
        if imported.module.startswith("celeriac")
        if (name := imported.module.rpartition(".")[2]).startswith("_") and not name.startswith("__")
        if imported.module not in PRIVATE_MODULES
    ]

    assert not offences, "\n".join(offences)
