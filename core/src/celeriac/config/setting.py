"""One setting: its name, type, default and one line of documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from msgspec import Struct

__all__ = ["Bound", "Family", "Setting", "at_least", "declare", "matching"]


class Bound(Struct, frozen=True):
    """A condition beyond the type, and how to say it: `expected` completes "must be …"."""

    accepts: Callable[[Any], bool]
    expected: str


class Setting(Struct, frozen=True, kw_only=True):
    """One setting. Plugins make them for the `celeriac_settings` hook.

    As a class attribute of `Settings` it is also the slow path of a read: once the sources are resolved, the value
    is in the instance and Python never comes here.

    Args:
        name: Lower-case, words joined by underscores, the family first: `worker_concurrency`.
        type: `bool`, `int`, `float`, `str`, `tuple[str, ...]`, `dict[str, Any]`, `Any`, or a union of them.
        default: The value when no source gives one.
        doc: One line, with the unit.
        choices: The only values allowed, besides None where the type has it.
        secret: Shown as `**` everywhere.
        check: A condition beyond the type; not asked about None.
        pool_needs: The capability that the pool of a worker must have where it is set: a field of `PoolCapabilities`.
    """

    name: str
    type: Any
    default: Any
    doc: str
    choices: tuple[Any, ...] | None = None
    secret: bool = False
    check: Bound | None = None
    pool_needs: str = ""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else instance[self.name]


class _Undeclared(Struct, frozen=True):
    """What `declare` leaves in a class body until `Family` knows the name and the type."""

    options: Mapping[str, Any]


def declare(default: Any, doc: str, **options: Any) -> Any:
    """Declare a setting in the body of a `Family`; name and type come from the annotated attribute."""
    return _Undeclared({"default": default, "doc": doc, **options})


class Family:
    """Turns `name: type = declare(default, doc)` of its subclasses into settings.

    So one line is the table, the documentation and, to a type checker, the type of `conf.<name>`.
    """

    declared: ClassVar[dict[str, Setting]] = {}
    """Every setting of the core, by name."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, kind in cls.__annotations__.items():
            placeholder = cls.__dict__.get(name)
            if isinstance(placeholder, _Undeclared):
                setting = Setting(name=name, type=kind, **placeholder.options)
                setattr(cls, name, setting)
                Family.declared[name] = setting


def at_least(least: float, *, beyond: bool = False) -> Bound:
    """Bound a number from below; `beyond` excludes the bound itself."""
    if beyond:
        return Bound(lambda value: value > least, f"more than {least:g}")
    return Bound(lambda value: value >= least, f"{least:g} or more")


def matching(accepts: Callable[[Any], bool], expected: str) -> Bound:
    """Bound a value by a condition of its own."""
    return Bound(accepts, expected)
