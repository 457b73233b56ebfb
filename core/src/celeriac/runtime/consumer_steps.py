"""The steps of the `consumer` blueprint: one connection generation, from the broker to the receiver."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celeriac.client.canvas.planning import JOINS_QUEUE
from celeriac.errors import InvalidMessage, StoreError, Unsupported
from celeriac.kernel.steps import Boot, Key, Step
from celeriac.model.protocol import check_headers
from celeriac.model.routing import bound
from celeriac.runtime.admission import REVOKED_SET, Admission
from celeriac.runtime.keys import (
    ADMISSION,
    APP,
    BROKER,
    COORDINATOR,
    EXECUTOR,
    GENERATION,
    INFLIGHT,
    LEASE,
    POOL,
    PREFETCH,
    RECEIVING,
    RESULTS,
    SETTLEMENT,
    SETTLER,
    WORKER,
)
from celeriac.runtime.leases import LeaseKeeper
from celeriac.runtime.receiver import Receiver
from celeriac.runtime.watchdog import Watchdog
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.results import Expires, Joins
from celeriac.spi.transport import ChecksRevocations, Declares, Inspects, KeepsLetters, Leases

if TYPE_CHECKING:
    from celeriac.model.request import Request
    from celeriac.runtime.inflight import Inflight
    from celeriac.runtime.settler import Settler
    from celeriac.spi.pool import Pool

__all__ = ["CONSUMER_STEPS"]

logger: logging.Logger = logging.getLogger(__name__)

PAGE = 1000
"""How many letters or results are dealt with at a time."""

SWEEP_SECONDS = 60.0


class BrokerStep(Step):
    """Open the broker and declare the queues to consume."""

    name = "broker"
    needs: tuple[Key[Any], ...] = (APP, WORKER)
    provides: tuple[Key[Any], ...] = (BROKER,)

    def start(self, boot: Boot) -> None:
        worker = boot.get(WORKER)
        transport = boot.get(APP).connections.new_transport(worker.holder)
        boot.defer(transport.close)
        transport.open(timeout=worker.timeout)
        if isinstance(transport, Declares):
            transport.declare(bound(worker.queues), timeout=worker.timeout)
        worker.purge_if_asked(transport)
        boot.provide(BROKER, transport)


class ResultsStep(Step):
    """Open the result store, if there is one."""

    name = "results"
    needs: tuple[Key[Any], ...] = (APP, WORKER)
    provides: tuple[Key[Any], ...] = (RESULTS,)

    def start(self, boot: Boot) -> None:
        connections = boot.get(APP).connections
        results = None if connections.results_address is None else connections.new_results()
        if results is not None:
            boot.defer(results.close)
            results.open(timeout=boot.get(WORKER).timeout)
        boot.provide(RESULTS, results)


class CoordinatorStep(Step):
    """Open the coordinator, if the broker or the result store brings one."""

    name = "coordinator"
    needs: tuple[Key[Any], ...] = (APP, WORKER)
    provides: tuple[Key[Any], ...] = (COORDINATOR,)

    def start(self, boot: Boot) -> None:
        try:
            coordinator: Coordinator | None = boot.get(APP).connections.new_coordinator()
        except Unsupported as error:
            logger.info("revoked tasks run: %s", error, extra={"event": "no_coordinator"})
            coordinator = None
        if coordinator is not None:
            boot.defer(coordinator.close)
            coordinator.open(timeout=boot.get(WORKER).timeout)
        boot.provide(COORDINATOR, coordinator)


class AdmissionStep(Step):
    """Make the rules of admission ready, and have the broker look itself for revocations where it can."""

    name = "admission"
    needs: tuple[Key[Any], ...] = (APP, WORKER, EXECUTOR, INFLIGHT, BROKER, COORDINATOR)
    provides: tuple[Key[Any], ...] = (ADMISSION,)

    def start(self, boot: Boot) -> None:
        pool = boot.get(WORKER).pool_class.capabilities
        transport, coordinator = boot.get(BROKER), boot.get(COORDINATOR)
        if coordinator is not None and isinstance(transport, ChecksRevocations):
            transport.checks_with(coordinator, REVOKED_SET)
        boot.provide(
            ADMISSION,
            Admission(
                boot.get(APP),
                boot.get(EXECUTOR).failures,
                boot.get(INFLIGHT),
                coordinator,
                boot.get(WORKER).clock,
                hard_limits=pool.hard_limits,
                soft_limits=pool.soft_limits,
            ),
        )


class SettlementStep(Step):
    """Let the settler commit over this connection."""

    name = "settlement"
    needs: tuple[Key[Any], ...] = (BROKER, RESULTS, SETTLER, GENERATION, LEASE)
    provides: tuple[Key[Any], ...] = (SETTLEMENT,)

    def start(self, boot: Boot) -> None:
        settler, generation = boot.get(SETTLER), boot.get(GENERATION)
        settler.attach(boot.get(BROKER), boot.get(RESULTS), generation.lose)
        boot.defer(settler.detach)
        # What the receiver handed back as it was stopped is to be settled yet, if the connection is sound.
        boot.defer(lambda: generation.error is None and settler.flush(boot.remaining()))
        boot.provide(SETTLEMENT, None)


class LeaseStep(Step):
    """Renew the lease, where the broker has leases, on what this worker knows it holds; else begin with nothing."""

    name = "leases"
    needs: tuple[Key[Any], ...] = (BROKER, GENERATION, POOL, SETTLER, INFLIGHT, WORKER)
    provides: tuple[Key[Any], ...] = (LEASE,)

    def start(self, boot: Boot) -> None:
        transport = boot.get(BROKER)
        boot.provide(LEASE, None)
        if not isinstance(transport, Leases):
            _begin_anew(boot.get(POOL), boot.get(SETTLER), boot.get(INFLIGHT))
            return
        known = [*boot.get(INFLIGHT).deliveries(), *boot.get(SETTLER).deliveries()]
        unknown = transport.retain(known, timeout=boot.get(WORKER).timeout)
        if unknown:
            logger.info("%d messages of a lost answer handed back", unknown, extra={"event": "retained"})
        pool, settler = boot.get(POOL), boot.get(SETTLER)

        def hand_back_unstarted() -> None:
            # Not simply forgotten: some may have been taken since, under the lease that is in force now.
            settler.give_back(pool.drain(), started=False)

        keeper = LeaseKeeper(
            transport, on_lapse=hand_back_unstarted, on_lost=boot.get(GENERATION).lose, sender=boot.get(WORKER)
        )
        keeper.start(holds=bool(known))
        boot.defer(lambda: keeper.stop(boot.remaining()))


def _begin_anew(pool: Pool, settler: Settler, inflight: Inflight) -> None:
    """Forget what an earlier connection brought and nobody began: the broker has it again. What runs goes on."""
    unstarted = pool.drain()
    kept = [request for request in unstarted if _acknowledged(inflight, request)]
    inflight.remove({request.key for request in unstarted} - {request.key for request in kept})
    settler.regaining.lose()
    if kept:
        pool.submit(kept)


def _acknowledged(inflight: Inflight, request: Request) -> bool:
    """Whether the message of a run was acknowledged before it: then it is nowhere but here."""
    held = inflight.get(request.key)
    return held is not None and held.delivery is None


class ParkedStep(Step):
    """Put parked messages whose task is known here back on their queues, beside the work: there may be a million."""

    name = "parked"
    needs: tuple[Key[Any], ...] = (APP, BROKER, WORKER)

    def start(self, boot: Boot) -> None:
        transport, tasks, timeout = boot.get(BROKER), boot.get(APP).tasks, boot.get(WORKER).timeout
        if not isinstance(transport, KeepsLetters):
            return
        stopping = threading.Event()

        def replay() -> None:
            try:
                replayed = _replay_known(transport, tasks, timeout, stopping)
            except StoreError as error:
                logger.warning("parked messages not replayed: %s", error, extra={"event": "replay_failed"})
                return
            if replayed:
                logger.info("%d parked messages replayed", replayed, extra={"event": "parked_replayed"})

        _in_thread("celeriac-parked", replay, stopping, boot)


def _in_thread(name: str, work: Callable[[], None], stopping: threading.Event, boot: Boot) -> None:
    """Run `work` beside the rest of the connection; it ends soon after `stopping` is set."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    boot.defer(lambda: thread.join(boot.remaining()))
    boot.defer(stopping.set)


def _replay_known(transport: KeepsLetters, tasks: Any, timeout: float, stopping: threading.Event) -> int:
    """Replay page by page, so that a million parked messages are no memory."""
    replayed, after = 0, None
    while not stopping.is_set():
        page = transport.letters("parked", limit=PAGE, after=after, timeout=timeout)
        if not page:
            break
        after = page[-1].id
        known = [letter.id for letter in page if _task_name(letter.message.headers) in tasks]
        if known:
            replayed += transport.replay(known, timeout=timeout)
    return replayed


def _task_name(headers: dict[str, Any]) -> str | None:
    try:
        return check_headers(headers).task
    except InvalidMessage:
        return None


class ReceiverStep(Step):
    """Take messages, once everything else of the connection stands."""

    name = "receiver"
    needs: tuple[Key[Any], ...] = (
        *(BROKER, RESULTS, GENERATION, ADMISSION, INFLIGHT, PREFETCH, SETTLER, SETTLEMENT, POOL, WORKER),
    )
    provides: tuple[Key[Any], ...] = (RECEIVING,)

    def start(self, boot: Boot) -> None:
        worker = boot.get(WORKER)
        # What is complete comes before what begins.
        joins = [JOINS_QUEUE] if isinstance(boot.get(RESULTS), Joins) else []
        receiver = Receiver(
            generation=boot.get(GENERATION),
            transport=boot.get(BROKER),
            queues=[*joins, *(queue.name for queue in worker.queues)],
            admission=boot.get(ADMISSION),
            inflight=boot.get(INFLIGHT),
            prefetch=boot.get(PREFETCH),
            settler=boot.get(SETTLER),
            pool=boot.get(POOL),
            halted=lambda: worker.stopping,
        )
        if not worker.stopping:
            boot.get(SETTLER).take_for(receiver)
            receiver.start()
        boot.defer(lambda: receiver.stop(boot.remaining()))
        boot.provide(RECEIVING, receiver)


class WatchdogStep(Step):
    """Tear down a connection that makes no progress while work waits and slots are free."""

    name = "watchdog"
    needs: tuple[Key[Any], ...] = (BROKER, GENERATION, INFLIGHT, PREFETCH, RECEIVING, WORKER)

    def start(self, boot: Boot) -> None:
        transport, worker = boot.get(BROKER), boot.get(WORKER)
        inflight, prefetch = boot.get(INFLIGHT), boot.get(PREFETCH)
        if not isinstance(transport, Inspects):
            return
        watchdog = Watchdog(
            transport,
            queues=[queue.name for queue in worker.queues],
            receiver=boot.get(RECEIVING),
            has_room=lambda: not worker.stopping and len(inflight) < prefetch.slots,
            lose=boot.get(GENERATION).lose,
            interval=worker.app.conf.worker_watchdog_seconds,
            timeout=worker.timeout,
        )
        watchdog.start()
        boot.defer(lambda: watchdog.stop(boot.remaining()))


class SweepStep(Step):
    """Drop expired results, a minute after the other, where the store does not do it by itself."""

    name = "sweep"
    needs: tuple[Key[Any], ...] = (RESULTS, WORKER)

    def start(self, boot: Boot) -> None:
        results, timeout = boot.get(RESULTS), boot.get(WORKER).timeout
        if results is None or not isinstance(results, Expires):
            return
        stopping = threading.Event()

        def sweep() -> None:
            while not stopping.wait(SWEEP_SECONDS):
                try:
                    while results.sweep(limit=PAGE, timeout=timeout) == PAGE and not stopping.is_set():
                        pass
                except StoreError as error:
                    logger.warning("expired results not dropped: %s", error, extra={"event": "sweep_failed"})

        _in_thread("celeriac-sweep", sweep, stopping, boot)


CONSUMER_STEPS: tuple[type[Step], ...] = (
    AdmissionStep,
    BrokerStep,
    CoordinatorStep,
    LeaseStep,
    ParkedStep,
    ReceiverStep,
    ResultsStep,
    SettlementStep,
    SweepStep,
    WatchdogStep,
)
