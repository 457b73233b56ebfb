"""What a distribution says about a plugin without importing its driver."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from celeriac.errors import MissingDependency

__all__ = ["Declaration", "Option"]


class Option(Struct, frozen=True, kw_only=True):
    """One option that a plugin reads from its URL's query or from the `…_transport_options` settings."""

    type: type
    default: Any
    doc: str


class Declaration(Struct, frozen=True, kw_only=True):
    """What an entry point names: everything about a plugin that can be said without importing it.

    Args:
        spi_version: The `SPI_VERSION` that the plugin was written for, as a number of its own.
        target: `module:Class` of the implementation, imported when the plugin is chosen.
        summary: One sentence for `celeriac plugins`.
        capabilities: The kind's capability record; the class carries the same object.
        options: The plugin's own options.
        fix: What to do if the import of `target` fails, such as `Run: pip install 'celeriac[redis]'.`
    """

    spi_version: int
    target: str
    summary: str
    capabilities: Any = None
    options: Mapping[str, Option] = field(default_factory=dict)
    fix: str = ""

    def load(self, kind: str, name: str) -> Any:
        """Import the implementation.

        Raises: MissingDependency: it, or what it imports, is not there.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise MissingDependency(kind, name, error, fix=self.fix) from error
