"""The pool of greenlets of eventlet."""

from __future__ import annotations

from typing import ClassVar

from celeriac.greenlets.hub import Hub
from celeriac.greenlets.pool import GreenPool
from celeriac_eventlet.hub import EventletHub
from celeriac_eventlet.plugin import CAPABILITIES

__all__ = ["EventletPool"]


class EventletPool(GreenPool):
    """Runs tasks on greenlets of eventlet; how is written at `GreenPool`."""

    capabilities = CAPABILITIES
    hub_class: ClassVar[type[Hub]] = EventletHub
