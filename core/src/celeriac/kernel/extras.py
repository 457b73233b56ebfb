"""What could be installed: the extras of the umbrella distribution `celeriac`, read from its metadata.

Core keeps no list of plugins or third parties. The umbrella's requirements say which distributions an extra brings;
its entry point group `celeriac.extras` says which plugins: `transport.sentinel = "redis"` that the extra `redis` brings
the transport `sentinel`, and `key.hub = "gevent"` that `gevent` brings a boot step that provides the key `hub`.
"""

from __future__ import annotations

import functools
import re

from msgspec import Struct

__all__ = ["available", "canonical", "clear_cache", "missing_extra", "reinstall"]

_UMBRELLA = "celeriac"
_GROUP = "celeriac.extras"


def missing_extra(kind: str, name: str) -> str | None:
    """Return the extra of `celeriac` that brings this plugin and is not, or not wholly, installed.

    `kind` is one of `celeriac.kernel.plugins.KINDS`, or `key` for a boot step that provides the key `name`. A scheme
    such as `redis+socket` is also looked for without what follows the plus sign.
    """
    brought = available(kind)
    for wanted in (name, name.partition("+")[0]):
        if wanted in brought:
            return brought[wanted]
    return None


def available(kind: str) -> dict[str, str]:
    """Return name to extra, of what is not installed.

    An extra of which the metadata does not say what it brings may bring anything of its own name.
    """
    umbrella = _read()
    told = set(umbrella.brings.values())
    brought = {extra: extra for extra in umbrella.requires if extra not in told}
    for entry, extra in umbrella.brings.items():
        of, _, name = entry.partition(".")
        if of == kind:
            brought[name] = extra
    return {name: extra for name, extra in brought.items() if not _has_all(umbrella.requires.get(extra, frozenset()))}


def reinstall(distribution: str) -> str:
    """Return what to do about an installed distribution that is broken."""
    for extra, distributions in _read().requires.items():
        if distribution in distributions:
            return f"Run: pip install --force-reinstall 'celeriac[{extra}]'."
    return f"Run: pip install --force-reinstall {distribution}."


def canonical(name: str) -> str:
    """Return the name of a distribution as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def clear_cache() -> None:
    """Forget what was read."""
    _read.cache_clear()


class _Extras(Struct, frozen=True, kw_only=True):
    """The umbrella's extras: their distributions, and `kind.name` of what they bring."""

    requires: dict[str, frozenset[str]]
    brings: dict[str, str]


@functools.cache
def _read() -> _Extras:
    from importlib import metadata  # noqa: PLC0415  15 ms that `import celeriac` must not cost

    try:
        umbrella = metadata.distribution(_UMBRELLA)
    except metadata.PackageNotFoundError:
        return _Extras(requires={}, brings={})
    requires: dict[str, set[str]] = {}
    for requirement in umbrella.requires or ():
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        if name and extra:
            requires.setdefault(extra[1], set()).add(canonical(name[0]))
    return _Extras(
        requires={extra: frozenset(distributions) for extra, distributions in requires.items()},
        brings={entry.name: entry.value for entry in umbrella.entry_points if entry.group == _GROUP},
    )


def _has_all(distributions: frozenset[str]) -> bool:
    from importlib import metadata  # noqa: PLC0415  as above

    for name in distributions:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            return False
    return True
