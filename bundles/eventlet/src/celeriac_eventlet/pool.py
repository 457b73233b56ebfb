"""The pool of greenlets of eventlet.

Once eventlet is imported, every fork of the process warns. So only a process that is patched imports it, and not one
that lists plugins.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import ClassVar

from celeriac.greenlets.hub import Hub
from celeriac.greenlets.pool import GreenPool
from celeriac_eventlet.patches import unpatched
from celeriac_eventlet.plugin import CAPABILITIES

__all__ = ["EventletPool"]

log: logging.Logger = logging.getLogger(__name__)

if find_spec("eventlet") is None:
    raise ModuleNotFoundError("No module named 'eventlet'", name="eventlet")


class EventletPool(GreenPool):
    """Runs tasks on greenlets of eventlet; how is written at `GreenPool`."""

    capabilities = CAPABILITIES
    library: ClassVar[str] = "eventlet"

    def unpatched(self) -> list[str]:
        return unpatched()

    def make_hub(self) -> Hub:
        from celeriac_eventlet.hub import EventletHub  # noqa: PLC0415  see above
        from celeriac_eventlet.mending import mend_join  # noqa: PLC0415  see above

        mend_join()
        return EventletHub()

    def _start(self) -> None:
        super()._start()
        log.warning(
            "eventlet is deprecated by its authors, who only mend it and plan its end; use the pool gevent or asyncio",
            extra={"event": "eventlet_deprecated"},
        )
