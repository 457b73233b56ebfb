"""The pool of greenlets of eventlet."""

from __future__ import annotations

import logging
from typing import ClassVar

from celeriac.greenlets.hub import Hub
from celeriac.greenlets.pool import GreenPool
from celeriac_eventlet.hub import EventletHub
from celeriac_eventlet.mending import mend_join
from celeriac_eventlet.plugin import CAPABILITIES

__all__ = ["EventletPool"]

log: logging.Logger = logging.getLogger(__name__)


class EventletPool(GreenPool):
    """Runs tasks on greenlets of eventlet; how is written at `GreenPool`."""

    capabilities = CAPABILITIES
    hub_class: ClassVar[type[Hub]] = EventletHub

    def _start(self) -> None:
        super()._start()
        mend_join()
        log.warning(
            "eventlet is deprecated by its authors, who only mend it and plan its end; use the pool gevent or asyncio",
            extra={"event": "eventlet_deprecated"},
        )
