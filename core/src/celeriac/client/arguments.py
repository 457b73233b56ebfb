"""Arguments of a call: whether they fit the task's signature, and their text for logs and monitors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celeriac.model.protocol import REPR_LIMIT

__all__ = ["ArgumentCheck", "bounded_repr"]


class ArgumentCheck:
    """Checks the arguments of a call as Python would.

    Most calls pass positional arguments only, and their number settles the matter; `inspect` takes 3 µs.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.signature: inspect.Signature = inspect.signature(function)
        parameters = list(self.signature.parameters.values())
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._least = sum(p.default is p.empty for p in positional)
        starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self._most = float("inf") if starred else len(positional)
        if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            self._most = -1  # no purely positional call can do

    def __call__(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError if the arguments do not fit."""
        if not kwargs and self._least <= len(args) <= self._most:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}{self.signature}: {error}") from None


_SMALL = 128


def bounded_repr(value: Any, limit: int = REPR_LIMIT) -> str:
    """Return the representation of arguments, at most `limit` characters, without reading more than that needs."""
    if not value:
        return "()" if isinstance(value, tuple) else repr(value)
    items = value.values() if isinstance(value, dict) else value
    for item in items:
        kind = type(item)
        if kind is int or kind is float or kind is bool or item is None or (kind is str and len(item) < _SMALL):
            continue
        break
    else:
        if len(value) <= _SMALL:
            text = repr(value)
            return text if len(text) <= limit else text[: limit - 3] + "..."
    parts: list[str] = []
    _write(value, parts, limit, 0)
    text = "".join(parts)
    return text if len(text) <= limit else text[: limit - 3] + "..."


_BRACKETS: dict[type, tuple[str, str]] = {
    tuple: ("(", ")"),
    list: ("[", "]"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
_DEEPEST = 6


def _write(value: Any, parts: list[str], budget: int, depth: int) -> int:
    """Append the text of `value`, stop soon after `budget` characters; return what is left of it."""
    kind = type(value)
    brackets = _BRACKETS.get(kind)
    if brackets is None or not value:
        return _put(_leaf(value, budget), parts, budget)
    if depth == _DEEPEST:
        return _put(f"{brackets[0]}...{brackets[1]}", parts, budget)
    budget = _put(brackets[0], parts, budget)
    first = True
    for item in value.items() if kind is dict else value:
        if budget <= 0:
            return _put("...", parts, budget)
        if not first:
            budget = _put(", ", parts, budget)
        first = False
        if kind is dict:
            budget = _write(item[0], parts, budget, depth + 1)
            budget = _put(": ", parts, budget)
            item = item[1]  # noqa: PLW2901  the pair's key is written, its value follows as in a list
        budget = _write(item, parts, budget, depth + 1)
    if kind is tuple and len(value) == 1:
        budget = _put(",", parts, budget)
    return _put(brackets[1], parts, budget)


def _put(text: str, parts: list[str], budget: int) -> int:
    parts.append(text)
    return budget - len(text)


def _leaf(value: Any, budget: int) -> str:
    if isinstance(value, str | bytes | bytearray):
        return repr(value[: max(budget, 0) + 1])
    if type(value) is int and value.bit_length() > REPR_LIMIT * 4:
        return f"<int of {value.bit_length()} bits>"  # its digits cost quadratic time, and Python may refuse them
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  a user's __repr__ may raise anything; the call must not fail for a log text
        return f"<{type(value).__name__}: __repr__ raised {type(error).__name__}>"
