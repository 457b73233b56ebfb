"""The boot step of pools of greenlets."""

from __future__ import annotations

import logging
import os
from typing import Any

from celeriac.greenlets.pacemaker import Pacemaker
from celeriac.greenlets.pool import GreenPool
from celeriac.kernel.steps import Boot, Key, Step
from celeriac.runtime.keys import BROKER, POOL
from celeriac.spi.transport import Leases

__all__ = ["PacemakerStep"]

logger: logging.Logger = logging.getLogger(__name__)


class PacemakerStep(Step):
    """Have the lease renewed even while a task holds up the hub, where other processes could take over what is held."""

    name = "pacemaker"
    needs: tuple[Key[Any], ...] = (BROKER, POOL)

    def start(self, boot: Boot) -> None:
        transport, pool = boot.get(BROKER), boot.get(POOL)
        if not isinstance(pool, GreenPool) or not isinstance(transport, Leases):
            return
        if transport.capabilities.reach == "process":
            return
        try:
            if not hasattr(os, "posix_spawn"):
                raise NotImplementedError("this system has no posix_spawn")  # noqa: TRY301  told below, as the others
            pacemaker = Pacemaker(transport, pool.hub.original)
        except Exception as error:  # noqa: BLE001  whatever it is, the worker can do without, and says so
            logger.warning(
                "a task that does not wait for %g s loses its lease, and runs twice: %s",
                transport.lease_seconds,
                error,
                extra={"event": "no_pacemaker"},
            )
            return
        pool.sentinel.pacemaker = pacemaker

        def forget() -> None:
            pool.sentinel.pacemaker = None
            pacemaker.close()

        boot.defer(forget)
