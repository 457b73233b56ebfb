"""Whether a value fits a setting, and how a text becomes a value."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Union, get_args, get_origin

import msgspec

from celeriac.config.setting import Setting
from celeriac.errors import InvalidSetting

__all__ = ["TRUTH", "accept", "describe", "parse"]

TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_NONE = frozenset({"none", "null"})
_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Any: "anything"}


class _Misfit(Exception):
    """The value is not of this type."""


def accept(setting: Setting, value: Any, *, source: str) -> Any:
    """Return `value` in the setting's own type: a list as a tuple, a timedelta as seconds, a dict copied.

    Raises: InvalidSetting: it does not fit; says what does.
    """
    return _fit(setting, value, _from_value, source)


def parse(setting: Setting, text: str, *, source: str) -> Any:
    """Read a value from text, as it stands in the environment or on the command line.

    `none` is None; lists are separated by commas or written in JSON; dictionaries are written in JSON.

    Raises: InvalidSetting: it does not fit; says what does.
    """
    return _fit(setting, text, _from_text, source)


def describe(setting: Setting) -> str:
    """Say what the setting takes, to complete "must be …"."""
    if setting.choices is not None:
        words = [", ".join(map(repr, setting.choices))]
        words += ["None"] if type(None) in _members(setting.type) else []
    else:
        words = [_word(member) for member in _members(setting.type) if member is not type(None)]
        bound = f" ({setting.check.expected})" if setting.check is not None else ""
        words[-1] += bound
        words += ["None"] if type(None) in _members(setting.type) else []
    return " or ".join(words)


def _fit(setting: Setting, value: Any, convert: Callable[[Any, Any], Any], source: str) -> Any:
    for member in _members(setting.type):
        try:
            fitted = convert(member, value)
        except _Misfit:
            continue
        if _allowed(setting, fitted):
            return fitted
    shown = "**" if setting.secret else value
    raise InvalidSetting(setting.name, shown, describe(setting), source=source)


def _allowed(setting: Setting, value: Any) -> bool:
    if value is None:
        return True
    if setting.choices is not None and value not in setting.choices:
        return False
    return setting.check is None or bool(setting.check.accepts(value))


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, None first, so that the text `none` is not taken for a name."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(sorted(get_args(kind), key=lambda member: member is not type(None)))
    return (kind,)


def _word(member: Any) -> str:
    if member in _WORDS:
        return _WORDS[member]
    origin = get_origin(member)
    if origin is tuple:
        return "a list of strings"
    return "a dictionary" if origin is dict else f"a {member.__name__}"


def _from_value(member: Any, value: Any) -> Any:
    if member is Any:
        return dict(value) if isinstance(value, dict) else value
    if member is float:
        return _number(value)
    origin = get_origin(member)
    if origin is tuple:
        if isinstance(value, list | tuple | set | frozenset) and all(isinstance(part, str) for part in value):
            return tuple(sorted(value)) if isinstance(value, set | frozenset) else tuple(value)
        raise _Misfit
    if origin is dict:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return dict(value)
        raise _Misfit
    if isinstance(value, member) and not (member is int and isinstance(value, bool)):
        return value
    raise _Misfit


def _number(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise _Misfit


def _from_text(member: Any, text: str) -> Any:
    if member is str:
        return text
    if member is type(None):
        if text.strip().lower() in _NONE:
            return None
        raise _Misfit
    try:
        return _from_value(member, _read(member, text.strip()))
    except (ValueError, KeyError) as error:
        raise _Misfit from error


def _read(member: Any, text: str) -> Any:
    if member is bool:
        return TRUTH[text.lower()]
    if member in (int, float):
        return member(text)
    if get_origin(member) is tuple and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if member is Any:
            return text
        raise
