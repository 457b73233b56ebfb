"""The steps of the `worker` blueprint: the whole process, from the executor to the connection's state machine."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from celeriac.kernel.steps import Boot, Key, Step
from celeriac.model.outcome import Outcome, Verdict
from celeriac.model.protocol import check_headers
from celeriac.model.request import Request
from celeriac.runtime.consumer import Consumer
from celeriac.runtime.executor import Executor
from celeriac.runtime.inflight import Inflight
from celeriac.runtime.journal import Journal
from celeriac.runtime.keys import (
    APP,
    CONSUMER,
    EXECUTOR,
    INFLIGHT,
    POOL,
    POOL_CONTROL,
    PREFETCH,
    SETTLER,
    SETTLING,
    WORKER,
)
from celeriac.runtime.pool_control import PoolControl
from celeriac.runtime.prefetch import Prefetch
from celeriac.runtime.rebalance import Rebalancer
from celeriac.runtime.settler import Settler
from celeriac.spi.pool import Places, Pool, PoolContext
from celeriac.spi.service import read_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.runtime.worker import Worker

__all__ = ["WORKER_STEPS"]

logger: logging.Logger = logging.getLogger(__name__)


class ExecutorStep(Step):
    """Bind every task for running."""

    name = "executor"
    needs: tuple[Key[Any], ...] = (APP, WORKER)
    provides: tuple[Key[Any], ...] = (EXECUTOR,)

    def start(self, boot: Boot) -> None:
        executor = Executor(boot.get(APP), boot.get(WORKER).hostname)
        boot.defer(executor.close)
        boot.provide(EXECUTOR, executor)


class HoldingStep(Step):
    """Keep account of what is held, and of how much to hold."""

    name = "holding"
    needs: tuple[Key[Any], ...] = (WORKER,)
    provides: tuple[Key[Any], ...] = (INFLIGHT, PREFETCH)

    def start(self, boot: Boot) -> None:
        worker = boot.get(WORKER)
        boot.provide(INFLIGHT, Inflight(worker.clock))
        boot.provide(PREFETCH, Prefetch(worker.concurrency, worker.prefetch_multiplier))


class SettlerStep(Step):
    """Make what commits the runs that end; it commits nothing yet, for the pool must come before every thread."""

    name = "settler"
    needs: tuple[Key[Any], ...] = (EXECUTOR, INFLIGHT, PREFETCH, WORKER)
    provides: tuple[Key[Any], ...] = (SETTLER,)

    def start(self, boot: Boot) -> None:
        worker = boot.get(WORKER)
        settler = Settler(
            inflight=boot.get(INFLIGHT),
            prefetch=boot.get(PREFETCH),
            journal=Journal(),
            timeout=worker.timeout,
            sender=worker,
            failures=boot.get(EXECUTOR).failures,
        )
        boot.provide(SETTLER, settler)


class PoolStep(Step):
    """Make the slots ready, before this process has a thread: a pool may fork here, and only here."""

    name = "pool"
    needs: tuple[Key[Any], ...] = (APP, EXECUTOR, INFLIGHT, PREFETCH, SETTLER, WORKER)
    provides: tuple[Key[Any], ...] = (POOL, POOL_CONTROL)

    def start(self, boot: Boot) -> None:
        worker, settler, conf = boot.get(WORKER), boot.get(SETTLER), boot.get(APP).conf
        executor, inflight = boot.get(EXECUTOR), boot.get(INFLIGHT)
        pool: Pool = worker.pool_class(
            worker.concurrency,
            PoolContext(
                execute=executor.execute,
                aexecute=executor.aexecute,
                is_async=executor.is_async,
                failed=_on_failure(inflight, executor),
                report=settler.report,
                started=_on_start(worker, inflight, settler, executor, lambda: pool),
                rebuild=worker.rebuild,
                retire=worker.retire,
                max_tasks_per_child=conf.worker_max_tasks_per_child,
                max_memory_per_child=conf.worker_max_memory_per_child,
                clock=worker.clock,
                options={**worker.options, **_options(worker)},
            ),
        )
        pool.start()
        boot.defer(lambda: pool.stop(boot.remaining()))
        worker.listen_to_signals()
        boot.provide(POOL, pool)
        boot.provide(POOL_CONTROL, PoolControl(worker.pool_name, pool, inflight, boot.get(PREFETCH)))


class SettlingStep(Step):
    """Commit what ends, from here on."""

    name = "settling"
    needs: tuple[Key[Any], ...] = (POOL, SETTLER)
    provides: tuple[Key[Any], ...] = (SETTLING,)

    def start(self, boot: Boot) -> None:
        settler = boot.get(SETTLER)
        settler.start()
        boot.defer(settler.stop)
        boot.provide(SETTLING, None)


def _options(worker: Worker) -> dict[str, Any]:
    """Return every option of the pool. Raises: UnknownSetting, InvalidSetting: in `worker_pool_options`."""
    given = worker.app.conf.worker_pool_options
    return read_options(worker.pool_class.options, None, given, source="worker_pool_options")


def _on_start(
    worker: Worker, inflight: Inflight, settler: Settler, executor: Executor, get_pool: Callable[[], Pool]
) -> Callable[[Request], None]:
    """Return what a pool calls as each run begins; STARTED is recorded for the tasks that want it."""
    tracked = {name for name, task in worker.app.tasks.items() if task.track_started}
    note = inflight.started

    def started(request: Request) -> None:
        note(request.key)
        if request.task in tracked:
            pid = _process_of(get_pool(), request.key)
            record = executor.recorder.started(check_headers(request.message.headers), pid, request.message)
            settler.post([Verdict(delivery=None, records=(record,))])

    if tracked:
        return started
    return lambda request: note(request.key)


def _process_of(pool: Pool, key: int) -> int:
    """Return the number of the process that runs a key: a child's, or this one."""
    place = pool.place(key) if isinstance(pool, Places) and pool.capabilities.processes else None
    return place if isinstance(place, int) else os.getpid()


def _on_failure(inflight: Inflight, executor: Executor) -> Callable[[Request, BaseException], Outcome]:
    """Return what a pool calls for a run that brought no outcome; how long it took is known here only."""

    def failed(request: Request, error: BaseException) -> Outcome:
        return replace(executor.failed(request, error), runtime=inflight.running_for(request.key) or 0.0)

    return failed


class ConsumerStep(Step):
    """Connect to the broker, and again whenever the connection is lost."""

    name = "consumer"
    needs: tuple[Key[Any], ...] = (APP, WORKER, EXECUTOR, INFLIGHT, PREFETCH, SETTLER, POOL, SETTLING)
    provides: tuple[Key[Any], ...] = (CONSUMER,)

    def start(self, boot: Boot) -> None:
        worker, conf = boot.get(WORKER), boot.get(APP).conf
        consumer = Consumer(
            worker,
            worker.consumer_graph,
            {key: boot.values[key] for key in self.needs if key is not SETTLING},
            longest_wait=conf.broker_reconnect_max_seconds,
            attempts=(conf.broker_connection_max_retries or None) if conf.broker_connection_retry else 1,
            timeout=worker.timeout * 2,
            on_given_up=worker.fail,
        )
        consumer.start()
        boot.defer(lambda: consumer.stop(boot.remaining()))
        worker.wait_unless_stopping(consumer.tried, worker.timeout)
        boot.provide(CONSUMER, consumer)


class RebalanceStep(Step):
    """Hand back what waits behind long tasks."""

    name = "rebalance"
    needs: tuple[Key[Any], ...] = (INFLIGHT, POOL, PREFETCH, SETTLER, SETTLING, WORKER)

    def start(self, boot: Boot) -> None:
        rebalancer = Rebalancer(boot.get(POOL), boot.get(INFLIGHT), boot.get(PREFETCH), boot.get(SETTLER))
        rebalancer.start()
        boot.defer(lambda: rebalancer.stop(boot.remaining()))


WORKER_STEPS: tuple[type[Step], ...] = (
    ConsumerStep,
    ExecutorStep,
    HoldingStep,
    PoolStep,
    RebalanceStep,
    SettlerStep,
    SettlingStep,
)
