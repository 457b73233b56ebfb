"""The boot step that sizes the pool."""

from __future__ import annotations

from typing import Any

from celeriac.kernel.steps import Boot, Key, Step
from celeriac.runtime.keys import APP, BROKER, CONSUMER, INFLIGHT, POOL_CONTROL, WORKER
from celeriac.spi.transport import Inspects
from celeriac_autoscale.autoscaler import Autoscaler
from celeriac_autoscale.bounds import parse_bounds

__all__ = ["AUTOSCALER", "AutoscaleStep"]

AUTOSCALER: Key[Autoscaler] = Key("autoscaler")


class AutoscaleStep(Step):
    """Size the pool by the work that waits, within `worker_autoscale`."""

    name = "autoscale"
    needs: tuple[Key[Any], ...] = (APP, CONSUMER, INFLIGHT, POOL_CONTROL, WORKER)
    provides: tuple[Key[Any], ...] = (AUTOSCALER,)

    def start(self, boot: Boot) -> None:
        worker, consumer, conf = boot.get(WORKER), boot.get(CONSUMER), boot.get(APP).conf
        queues = [queue.name for queue in worker.queues]

        def queued() -> int:
            transport = consumer.current(BROKER)
            if not isinstance(transport, Inspects):
                return 0
            return sum(depth.waiting for depth in transport.depths(queues, timeout=worker.timeout))

        autoscaler = Autoscaler(
            parse_bounds(conf["worker_autoscale"]),
            pool=boot.get(POOL_CONTROL),
            inflight=boot.get(INFLIGHT),
            queued=queued,
            idle_seconds=conf["worker_autoscale_idle_seconds"],
            clock=worker.clock,
        )
        boot.defer(lambda: autoscaler.stop(boot.remaining()))
        autoscaler.start()
        boot.provide(AUTOSCALER, autoscaler)
