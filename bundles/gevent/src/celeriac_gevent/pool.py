"""The pool of greenlets of gevent."""

from __future__ import annotations

from typing import ClassVar

from celeriac.greenlets.hub import Hub
from celeriac.greenlets.pool import GreenPool
from celeriac_gevent.hub import GeventHub
from celeriac_gevent.patches import unpatched
from celeriac_gevent.plugin import CAPABILITIES

__all__ = ["GeventPool"]


class GeventPool(GreenPool):
    """Runs tasks on greenlets of gevent; how is written at `GreenPool`."""

    capabilities = CAPABILITIES
    library: ClassVar[str] = "gevent"

    def unpatched(self) -> list[str]:
        return unpatched()

    def make_hub(self) -> Hub:
        return GeventHub()
