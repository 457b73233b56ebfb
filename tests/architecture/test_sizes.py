"""Modules and functions stay short enough to be read at once."""

from __future__ import annotations

import ast

from tree import ROOT, Module, repository

MODULE_LINES = 400
MODULE_LINES_WITH_REASON = 600
FUNCTION_LINES = 60
REASON = "# Longer than 400 lines because"

MODULES = [Module(path, path.stem) for path in repository().files if path.suffix == ".py"]


def test_modules_have_at_most_400_lines_or_say_why_on_top() -> None:
    offences = []
    for module in MODULES:
        lines = module.text.splitlines()
        limit = MODULE_LINES_WITH_REASON if any(line.startswith(REASON) for line in lines[:40]) else MODULE_LINES
        if len(lines) > limit:
            offences.append(f"{module.shown}: {len(lines)} lines, the limit is {limit}")

    assert not offences, "\n".join(offences)


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring."""
    assert function.end_lineno is not None
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    assert docstring.end_lineno is not None
    return total - (docstring.end_lineno - docstring.lineno + 1)


def test_functions_have_at_most_60_lines() -> None:
    offences = [
        f"{module.shown}:{node.lineno} {node.name} has {lines} lines"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := code_lines(node)) > FUNCTION_LINES
    ]

    assert not offences, "\n".join(offences)


def test_no_module_is_named_after_nothing() -> None:
    empty = {"utils", "util", "common", "base", "misc", "helpers", "helper"}

    offences = [module.shown for module in MODULES if module.path.stem in empty or module.path.parent.name in empty]

    assert not offences


def test_the_sources_were_found() -> None:
    assert len(MODULES) > 50
    assert ROOT / "core" / "src" / "celeriac" / "errors.py" in {module.path for module in MODULES}
