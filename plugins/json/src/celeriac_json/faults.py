"""Why a value cannot be written, and which part of it. Runs only after writing has failed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from celeriac_json.markers import TYPE, VALUE, Unknown, wrap

__all__ = ["fault_in", "marked_by_hand"]

_PLAIN = (str, int, float, bool, type(None))

_DEEPEST = 2_000
"""Deeper than Python writes; below it nothing is looked at, since a path so long helps nobody."""


def fault_in(value: Any) -> str | None:
    """Return where and what the first fault is, such as `$[0][1]: nan is not a number in JSON`; None if none is seen.

    `$` is the value itself.
    """
    return _first(value, _fault_of)


def marked_by_hand(value: Any) -> str | None:
    """Return where the value holds a table that would be taken for a marked value when it is read."""
    return _first(value, _mark_of)


def _first(value: Any, problem: Callable[[Any], str | None]) -> str | None:
    """Walk the value depth first, without recursion, since it may be deep or endless."""
    above: dict[int, Any] = {}
    stack: list[tuple[Any, str, bool]] = [(value, "$", True)]
    while stack:
        current, path, arriving = stack.pop()
        if not arriving:
            del above[id(current)]
            continue
        if id(current) in above:
            return f"{path}: it contains itself"
        found = problem(current)
        if found is not None:
            return f"{path}: {found}"
        children = [(part, where, True) for part, where in _children(current, path)]
        if children and len(above) < _DEEPEST:
            # Held until all below has been seen, so that no other object can get its id.
            above[id(current)] = current
            stack.append((current, path, False))
            stack.extend(reversed(children))
    return None


def _children(value: Any, path: str) -> Iterator[tuple[Any, str]]:
    if isinstance(value, dict):
        yield from ((part, f"{path}[{key!r}]") for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((part, f"{path}[{index}]") for index, part in enumerate(value))
    elif not isinstance(value, _PLAIN) and hasattr(value, "__json__"):
        with suppress(Exception):  # told of by _fault_of
            yield value.__json__(), path


def _fault_of(value: Any) -> str | None:
    if isinstance(value, str):
        return _fault_of_text(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a number in JSON"
    if isinstance(value, dict):
        return next((fault for key in value if (fault := _fault_of_key(key)) is not None), None)
    if isinstance(value, (*_PLAIN, list, tuple)):
        return None
    return _fault_of_object(value)


def _fault_of_object(value: Any) -> str | None:
    try:
        wrap(value)
    except Unknown as error:
        fix = " Pass a list." if isinstance(value, set | frozenset) else " See celeriac_json.register_type."
        return f"{error}.{fix}"
    except Exception as error:  # noqa: BLE001  whatever its own encoder raised is what is to be told
        return f"a value of type {type(value).__qualname__} raised {type(error).__qualname__}: {error}"
    return None


def _fault_of_text(text: str) -> str | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"the text has a lone surrogate at {error.start}, which is no character"
    return None


def _fault_of_key(key: Any) -> str | None:
    if isinstance(key, str):
        fault = _fault_of_text(key)
        return None if fault is None else f"key {key!r}: {fault}"
    if isinstance(key, float) and not math.isfinite(key):
        return f"key {key!r} is not a number in JSON"
    return None if isinstance(key, _PLAIN) else f"key {key!r} is neither text nor number"


def _mark_of(value: Any) -> str | None:
    if isinstance(value, dict) and value.keys() == {TYPE, VALUE}:
        return f"a table of just {TYPE} and {VALUE} would be read as a marked value. Rename a key."
    return None
