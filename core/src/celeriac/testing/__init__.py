"""The testing kit: contract suites, a virtual clock, faulty transports and pytest fixtures.

Importing it costs nothing, since pytest does so in every run: the names are loaded when they are used.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from celeriac.testing.clock import VirtualClock
    from celeriac.testing.faulty import Faults, FaultyTransport

__all__ = ["Faults", "FaultyTransport", "VirtualClock"]

_HOMES = {
    "Faults": "celeriac.testing.faulty",
    "FaultyTransport": "celeriac.testing.faulty",
    "VirtualClock": "celeriac.testing.clock",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'celeriac.testing' has no attribute {name!r}")
    import importlib  # noqa: PLC0415  see above

    return getattr(importlib.import_module(_HOMES[name]), name)
