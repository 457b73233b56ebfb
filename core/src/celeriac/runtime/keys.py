"""The keys by which the worker's boot steps, and those of users and plugins, find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.kernel.steps import Key

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.runtime.admission import Admission
    from celeriac.runtime.consumer import Consumer, Generation
    from celeriac.runtime.executor import Executor
    from celeriac.runtime.inflight import Inflight
    from celeriac.runtime.pool_control import PoolControl
    from celeriac.runtime.prefetch import Prefetch
    from celeriac.runtime.receiver import Receiver
    from celeriac.runtime.settler import Settler
    from celeriac.runtime.worker import Worker
    from celeriac.spi.coordinator import Coordinator
    from celeriac.spi.pool import Pool
    from celeriac.spi.results import ResultStore
    from celeriac.spi.transport import Transport

__all__ = [
    "ADMISSION",
    "APP",
    "BROKER",
    "CONSUMER",
    "COORDINATOR",
    "EXECUTOR",
    "GENERATION",
    "INFLIGHT",
    "LEASE",
    "POOL",
    "POOL_CONTROL",
    "PREFETCH",
    "RECEIVING",
    "RESULTS",
    "SETTLEMENT",
    "SETTLER",
    "SETTLING",
    "WORKER",
]

# Given to both blueprints.
APP: Key[Celeriac] = Key("app")
WORKER: Key[Worker] = Key("worker")

# Provided in the worker blueprint, and given to the consumer blueprint.
INFLIGHT: Key[Inflight] = Key("inflight")
PREFETCH: Key[Prefetch] = Key("prefetch")
EXECUTOR: Key[Executor] = Key("executor")
SETTLER: Key[Settler] = Key("settler")
POOL: Key[Pool] = Key("pool")
POOL_CONTROL: Key[PoolControl] = Key("pool-control")
SETTLING: Key[None] = Key("settling")

# Provided last in the worker blueprint: the connection's state machine is running.
CONSUMER: Key[Consumer] = Key("consumer")

# Given to the consumer blueprint only: one connection from its beginning to its end.
GENERATION: Key[Generation] = Key("generation")

# Provided in the consumer blueprint.
BROKER: Key[Transport] = Key("broker")
RESULTS: Key[ResultStore | None] = Key("results")
COORDINATOR: Key[Coordinator | None] = Key("coordinator")
ADMISSION: Key[Admission] = Key("admission")
SETTLEMENT: Key[None] = Key("settlement")
LEASE: Key[None] = Key("lease")
RECEIVING: Key[Receiver] = Key("receiving")
