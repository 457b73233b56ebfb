"""Everything a user or an author of plugins can name has an entry in the reference."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from functools import cache
from types import ModuleType

import msgspec
import pytest
from tree import ROOT

from celeriac import errors, events
from celeriac.config.table import TABLE
from celeriac.kernel.hooks import HookSpecs

REFERENCE = ROOT / "docs" / "reference"


@cache
def rendering() -> ModuleType:
    """Return the extension that renders pages from the code."""
    spec = importlib.util.spec_from_file_location("rendered", ROOT / "docs" / "_ext" / "rendered.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def page(name: str) -> str:
    """Return a page as Sphinx reads it."""
    return str(rendering().expand((REFERENCE / f"{name}.md").read_text()))


def headings(name: str) -> list[str]:
    return re.findall(r"(?m)^#{1,5} (.+)$", page(name))


def test_every_setting_has_an_entry_with_its_default() -> None:
    assert [name for name in headings("settings") if name in TABLE] == list(TABLE)
    for setting in TABLE.values():
        assert f"Default: `{setting.default!r}`" in page("settings")
        assert setting.doc in page("settings")


def test_every_event_has_an_entry_with_its_fields() -> None:
    assert headings("events")[1:] == list(events.EVENTS)
    for event in events.EVENTS.values():
        assert event.about in page("events")
        assert all(f"`{field}`" in page("events") for field in event.fields)


def test_every_error_has_an_entry() -> None:
    classes = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]

    assert headings("errors")[1:] == classes
    for name in classes:
        assert name in (errors.__doc__ or ""), "not in the tree on top of errors.py"
        assert getattr(errors, name).__doc__


def test_every_hook_has_an_entry_with_its_exact_arguments() -> None:
    tree = ast.parse((ROOT / "core/src/celeriac/kernel/hooks.py").read_text())
    hooks = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in vars(HookSpecs)
    ]  # fmt: skip
    hooks = [node for node in hooks if node.name.startswith("celeriac_")]

    assert headings("hooks")[1:] == [hook.name for hook in hooks]
    for hook in hooks:
        assert f"def {hook.name}({ast.unparse(hook.args)})" in page("hooks")


@pytest.mark.parametrize("name", ["transport", "results", "serializer", "pool", "coordinator"])
def test_every_kind_of_plugin_has_a_page_with_all_of_its_methods_and_classes(name: str) -> None:
    module_name, class_name, _ = rendering().KINDS[name]
    module = importlib.import_module(module_name)
    text = rendering().kind(name)
    pages = [path for path in REFERENCE.glob("*.md") if f"<!-- rendered: kind {name} -->" in path.read_text()]

    assert len(pages) == 1
    for class_ in (value for value in vars(module).values() if isinstance(value, type)):
        if class_.__module__ == module_name and hasattr(class_, "__abstractmethods__"):
            methods = [name for name, value in vars(class_).items() if inspect.isfunction(value) and name != "__init__"]
            assert all(f"# {method}\n" in text for method in methods), class_
            assert class_.__name__ == class_name or f" {class_.__name__}\n" in text


@pytest.mark.parametrize("name", ["transport", "results", "pool", "coordinator"])
def test_every_capability_says_what_happens_without_it(name: str) -> None:
    module_name, _, record = rendering().KINDS[name]
    fields = [field.name for field in msgspec.structs.fields(getattr(importlib.import_module(module_name), record))]
    source = (REFERENCE / "capabilities.md").read_text()
    section = source.partition(f"<!-- rendered: capabilities {name} -->")[2].partition("\n## ")[0]

    assert re.findall(r"(?m)^\| `(\w+)` \|", section) == fields
    assert all(f"| `{field}` |" in rendering().capability_table(name) for field in fields)


def test_every_kind_of_the_interfaces_is_rendered() -> None:
    kinds = {path.stem for path in (ROOT / "core/src/celeriac/spi").glob("*.py")} - {
        "__init__", "declaration", "service",
    }  # fmt: skip

    assert {module.rpartition(".")[2] for module, _, _ in rendering().KINDS.values()} == kinds


def test_every_marker_names_a_renderer_and_every_renderer_is_used() -> None:
    used = {match["name"] for path in REFERENCE.glob("*.md") for match in rendering().MARKER.finditer(path.read_text())}

    assert used == set(rendering().RENDERERS)
