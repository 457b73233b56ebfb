"""Reading settings from a module, an object, a class or a mapping."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from types import ModuleType
from typing import Any

from msgspec import Struct

from celeriac.config.names import successor
from celeriac.errors import ConfigurationError

__all__ = ["Entry", "load", "read"]


class Entry(Struct, frozen=True, kw_only=True):
    """One value that a source gives.

    `key` is the name as it is written there. `certain` is False for what may be no setting at all, such as a
    function in a module of settings. `text` is True for a value that must still be read from text.
    """

    name: str
    key: str
    value: Any
    source: str
    certain: bool = True
    text: bool = False


def load(path: str) -> Any:
    """Import what `path` names: `package.module`, `package.module:attribute` or `package.module.attribute`.

    Raises: ConfigurationError: it is not there; says which part, and what it was looked up in.
    """
    module, _, attribute = path.partition(":")
    try:
        return _walk(importlib.import_module(module), attribute) if attribute else _by_dots(path)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Cannot import settings {path!r}: {error}. It is looked up on the import path, which includes the"
            " working directory (or `--workdir`) of the celeriac command."
        ) from error
    except AttributeError as error:
        raise ConfigurationError(f"Cannot import settings {path!r}: {error}.") from error


def _by_dots(path: str) -> Any:
    """Import the longest part of `path` that is a module and walk the rest."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        parent, _, attribute = path.rpartition(".")
        if not parent or error.name is None or not path.startswith(error.name):
            raise
        try:
            return _walk(_by_dots(parent), attribute)
        except (ModuleNotFoundError, AttributeError):
            raise error from None


def _walk(value: Any, attributes: str) -> Any:
    for attribute in attributes.split("."):
        value = getattr(value, attribute)
    return value


def read(obj: Any, *, namespace: str | None, names: Collection[str]) -> list[Entry]:
    """Return what `obj` says about settings.

    With a namespace only names that begin with it and an underscore are read; an upper-case namespace makes the
    whole name upper-case, as in Django's settings. Without one, every key of a mapping is meant to be a setting; of
    a module or object every public attribute that is lower-case and no function, class or module.

    Args:
        obj: What to read; a string is imported.
        namespace: The prefix, without its underscore.
        names: Every setting there is, for recognising old names.
    """
    if isinstance(obj, str):
        source, obj = obj, load(obj)
    else:
        source = _label(obj)
    entries = []
    for key, value in _items(obj):
        name = _strip(key, namespace)
        if name is None:
            continue
        certain = namespace is not None or isinstance(obj, Mapping) or _is_meant(key, value, names)
        place = source if key == name else f"{source}, as {key}"
        entries.append(Entry(name=name, key=key, value=value, source=place, certain=certain))
    return entries


def _items(obj: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(obj, Mapping):
        for key, value in obj.items():
            if not isinstance(key, str):
                raise ConfigurationError(f"A name of a setting must be a string; got {key!r}.")
            yield key, value
        return
    for key in dir(obj):
        if not key.startswith("_"):
            yield key, getattr(obj, key)


def _strip(key: str, namespace: str | None) -> str | None:
    if not namespace:
        return key
    prefix = namespace if namespace.endswith("_") else namespace + "_"
    if not key.startswith(prefix):
        return None
    rest = key.removeprefix(prefix)
    return rest.lower() if prefix.isupper() and rest.isupper() else rest


def _is_meant(key: str, value: Any, names: Collection[str]) -> bool:
    if isinstance(value, ModuleType | type) or callable(value):
        return False
    return key == key.lower() or successor(key, names) is not None


def _label(obj: Any) -> str:
    if isinstance(obj, ModuleType | type):
        return obj.__name__
    return "a dictionary" if isinstance(obj, Mapping) else type(obj).__name__
