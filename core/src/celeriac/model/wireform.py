"""Signatures in their wire form: what a mapping must have to be one, and links as lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celeriac.errors import InvalidMessage

__all__ = ["as_list", "check", "signatures"]

_PARTS: tuple[tuple[str, Any, str], ...] = (
    ("args", (list, tuple), "an array"),
    ("kwargs", dict, "a mapping"),
    ("options", dict, "a mapping"),
)


def as_list(value: Any) -> list[Any]:
    """Return links, of which there may be one, several or none, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, Mapping) else list(value)


def check(data: Mapping[str, Any]) -> None:
    """Refuse a mapping that is no signature.

    Raises: InvalidMessage: a key is missing or malformed; says which.
    """
    if not isinstance(data.get("task"), str):
        raise InvalidMessage("signature.task", "must be the name of a task")
    for key, kinds, expected in _PARTS:
        value = data.get(key)
        if value is not None and not isinstance(value, kinds):
            raise InvalidMessage(f"signature.{key}", f"must be {expected}, not {type(value).__name__}")


def signatures(value: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return one link or several in their wire form; None for none."""
    links = as_list(value)
    for link in links:
        if not isinstance(link, Mapping):
            raise TypeError(f"A link must be a signature, such as task.s(); got {link!r}.")
        check(link)
    return [dict(link) for link in links] or None
