"""Which plugins are installed, and the one that is chosen: discovery over entry points.

* Each kind has an entry point group; the name of an entry point is the URL scheme or option value users write.
* The metadata of installed distributions is scanned once per process, at the first question. Listing imports
  nothing; `find` imports a distribution's declarations; only `load` imports a driver.
* Distributions of the project and of third parties enter by the same door.

What could be installed is the affair of `celeriac.kernel.extras`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from celeriac.errors import ConfigurationError, IncompatiblePlugin, MissingDependency, UnknownPlugin, nearest
from celeriac.kernel import extras

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "KINDS",
    "Declared",
    "PluginInfo",
    "clear_cache",
    "find",
    "info",
    "installed",
    "load",
    "names",
]

SPI_VERSION = 1
"""The version of the interfaces: raised when a change in `celeriac.spi`, its public home, breaks plugins."""

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "transport": "celeriac.transports",
        "results": "celeriac.results",
        "serializer": "celeriac.serializers",
        "pool": "celeriac.pools",
        "coordinator": "celeriac.coordinators",
        "schedule": "celeriac.schedules",
        "command": "celeriac.commands",
        "hooks": "celeriac.hooks",
        "option": "celeriac.options",
        "harness": "celeriac.harnesses",
    }
)
"""Kind to entry point group."""

_UNDECLARED = frozenset({"command", "hooks", "option", "harness"})
"""Kinds whose entry points name the thing itself: a click command, a module of hooks, a module of harnesses.

The name of an `option` is one of `celeriac worker` without its dashes; who gives it activates those hooks.
"""


@runtime_checkable
class Declared(Protocol):
    """What the kernel asks of a declaration; `celeriac.spi.declaration.Declaration` is the one to use."""

    @property
    def target(self) -> str:
        """`module:Class` of the implementation."""

    @property
    def summary(self) -> str:
        """One sentence for people."""

    @property
    def capabilities(self) -> Any:
        """The kind's capability record, or None."""

    @property
    def spi_version(self) -> int:
        """The version of the interfaces it was written for."""

    def load(self, kind: str, name: str) -> Any:
        """Import and return the implementation, or raise `MissingDependency`."""


class PluginInfo:
    """One installed plugin. Making or listing it imports nothing.

    Args:
        kind: One of `KINDS`.
        name: The URL scheme or option value that chooses it.
        distribution: The distribution that brings it.
        version: That distribution's version.
    """

    def __init__(self, kind: str, entry: EntryPoint, distribution: str, version: str) -> None:
        self.kind = kind
        self.name: str = entry.name
        self.distribution = distribution
        self.version = version
        self._entry = entry

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} of {self.distribution} {self.version}>"

    @functools.cached_property
    def declaration(self) -> Declared | None:
        """The declaration, imported at the first access; None if there is none or it cannot be imported."""
        try:
            return self.declare()
        except Exception:  # noqa: BLE001  a broken plugin must not break the listing; `error` tells
            return None

    @functools.cached_property
    def error(self) -> str | None:
        """Why it cannot be used and what to do, or None: found out at the first access, by importing its driver."""
        try:
            self.load()
        except Exception as error:  # noqa: BLE001  as above
            return str(error) if isinstance(error, ConfigurationError) else f"{type(error).__name__}: {error}"
        return None

    def declare(self) -> Declared:
        """Import and return the declaration.

        Raises: MissingDependency: it cannot be imported. ConfigurationError: it is none, or this kind has none.
        """
        if self.kind in _UNDECLARED:
            raise ConfigurationError(f"A plugin of kind {self.kind!r} has no declaration. Load {self.name!r} instead.")
        declared = self._load_entry()
        if not isinstance(declared, Declared):
            raise ConfigurationError(
                f"Entry point {self._entry.value!r} of {self.distribution} {self.version} must name a Declaration;"
                f" got {declared!r}. Report it to the authors of {self.distribution}."
            )
        return declared

    def load(self) -> Any:
        """Import and return the implementation, or what the entry point names for kinds without declaration.

        Raises: MissingDependency: it, or what it imports, is not there. IncompatiblePlugin: it was written for
            another version of the interfaces.
        """
        if self.kind in _UNDECLARED:
            return self._load_entry()
        declared = self.declare()
        if declared.spi_version != SPI_VERSION:
            raise IncompatiblePlugin(
                f"{self.name} ({self.distribution} {self.version})", declared.spi_version, SPI_VERSION
            )
        return declared.load(self.kind, self.name)

    def _load_entry(self) -> Any:
        try:
            return self._entry.load()
        except (ImportError, AttributeError) as error:
            raise MissingDependency(self.kind, self.name, error, fix=extras.reinstall(self.distribution)) from error


def installed(kind: str | None = None) -> list[PluginInfo]:
    """Return all plugins, or those of one kind, by kind and name. Imports nothing.

    Raises: ConfigurationError: no such kind.
    """
    if kind is not None:
        _check_kind(kind)
    return [plugin for plugin in _scan() if kind in (None, plugin.kind)]


def names(kind: str) -> list[str]:
    """Return the names of the installed plugins of one kind, sorted. Imports nothing."""
    return list(dict.fromkeys(plugin.name for plugin in installed(kind)))


def info(kind: str, name: str) -> PluginInfo:
    """Return one plugin by its name. Imports nothing.

    Raises: UnknownPlugin: none of that kind and name; it names the nearest, and the extra that brings it.
        ConfigurationError: no such kind, or two distributions claim the name.
    """
    matching = [plugin for plugin in installed(kind) if plugin.name == name]
    if not matching:
        raise _unknown(kind, name)
    if len(matching) > 1:
        owners = " and ".join(plugin.distribution for plugin in matching)
        raise ConfigurationError(f"The {kind} {name!r} is brought by {owners}. Uninstall all but one of them.")
    return matching[0]


def find(kind: str, name: str) -> Declared:
    """Return the declaration of a plugin, without importing its driver.

    Raises: what `info` and `PluginInfo.declare` raise.
    """
    return info(kind, name).declare()


def load(kind: str, name: str) -> Any:
    """Return the implementation of a plugin, importing its driver.

    Raises: what `info` and `PluginInfo.load` raise.
    """
    return info(kind, name).load()


def clear_cache() -> None:
    """Forget what was scanned: for tests and for programs that install while they run."""
    _scan.cache_clear()
    extras.clear_cache()


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigurationError(f"No kind of plugin {kind!r}.{nearest(kind, KINDS)} Kinds: {', '.join(KINDS)}.")


def _unknown(kind: str, name: str) -> UnknownPlugin:
    known = names(kind)
    extra = extras.missing_extra(kind, name)
    if extra:
        return UnknownPlugin(kind, name, known, extra=extra)
    available = extras.available(kind)
    close = difflib.get_close_matches(name, [*known, *available], n=1)
    meant = close[0] if close else None
    return UnknownPlugin(kind, name, known, extra=available.get(meant or ""), meant=meant)


@functools.cache
def _scan() -> tuple[PluginInfo, ...]:
    """Read the entry points of all installed distributions, by kind and name."""
    kinds = {group: kind for kind, group in KINDS.items()}
    found = [
        PluginInfo(kinds[entry.group], entry, distribution, version)
        for distribution, version, entries in _distributions()
        for entry in entries
        if entry.group in kinds
    ]
    rank = list(KINDS)
    return tuple(sorted(found, key=lambda plugin: (rank.index(plugin.kind), plugin.name, plugin.distribution)))


def _distributions() -> Iterator[tuple[str, str, list[EntryPoint]]]:
    """Yield the name, version and entry points of each distribution that has some of Celeriac's."""
    from importlib import metadata  # noqa: PLC0415  15 ms that `import celeriac` must not cost

    seen = set()
    for distribution in metadata.distributions():
        # The text first: reading a name means parsing an e-mail header, and most distributions have no plugin.
        if "celeriac." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        name = extras.canonical(distribution.name)
        # One that is on the path twice counts once; the first is what an import would find.
        if name not in seen:
            seen.add(name)
            yield name, distribution.version, list(distribution.entry_points)
