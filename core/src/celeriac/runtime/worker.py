"""The worker: one process that boots, takes tasks until it is told to stop, and unwinds.

1. Import the app's modules, build both graphs: whatever does not fit is an error before anything starts.
2. Boot the `worker` blueprint; its step `consumer` keeps the connection to the broker.
3. The main thread serves the pool, or waits. A stop is carried out by a thread of its own, so that it goes on
   while a task holds the main thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeriac import events
from celeriac.errors import ConfigurationError
from celeriac.kernel import plugins
from celeriac.kernel.boot import Running, start
from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.kernel.graph import Graph
from celeriac.kernel.hooks import Hooks, activate
from celeriac.kernel.steps import Key
from celeriac.model.routing import Queue
from celeriac.runtime.consumer_steps import CONSUMER_STEPS
from celeriac.runtime.hostname import expand_hostname
from celeriac.runtime.keys import (
    APP,
    CONSUMER,
    EXECUTOR,
    GENERATION,
    INFLIGHT,
    POOL,
    POOL_CONTROL,
    PREFETCH,
    RECEIVING,
    SETTLER,
    WORKER,
)
from celeriac.runtime.pool_control import PoolControl, RunState
from celeriac.runtime.refusals import refuse_what_pool_lacks
from celeriac.runtime.shutdown import Level, Signals, StopRequest
from celeriac.runtime.worker_steps import WORKER_STEPS
from celeriac.spi.pool import Rebuild, RunsInMain
from celeriac.spi.transport import Inspects

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from celeriac.client.app import Celeriac
    from celeriac.config.settings import Settings

__all__ = ["Worker"]

logger: logging.Logger = logging.getLogger(__name__)

BOOT_SECONDS = 30.0
UNWIND_SECONDS = 10.0
HELD_SECONDS = 1.0

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_RETIRED = 75
"""EX_TEMPFAIL of sysexits.h: start it again."""

_STOP_NAMES = {"warm": Level.WARM, "soft": Level.SOFT, "cold": Level.COLD}


class Worker:
    """One worker of an app.

    Args:
        app: The app whose tasks it runs.
        hostname: Node name; `%h`, `%n`, `%d` are expanded as Celery does. None is `celeriac@<host>`.
        pool: Name of the pool; None is the setting `worker_pool`.
        concurrency: Slots; None is the setting, and then the pool's own choice.
        queues: Names of the queues to consume; None is all of `task_queues`.
        exclude_queues: Names of those to leave out.
        prefetch_multiplier: Messages to hold per slot; None is the setting, and then self-tuning.
        purge: Delete what waits on the queues before starting.
        app_path: Where another process can import the app from, as `-A` names it; None where none can.
        set_up_log: What makes another process of this app log as this one does; see `Rebuild`.
        options: What plugins' command line options were given, by name; steps find it as `worker.options`.
    """

    def __init__(
        self,
        app: Celeriac,
        *,
        hostname: str | None = None,
        pool: str | None = None,
        concurrency: int | None = None,
        queues: Sequence[str] | None = None,
        exclude_queues: Sequence[str] = (),
        prefetch_multiplier: int | None = None,
        purge: bool = False,
        app_path: str | None = None,
        set_up_log: Callable[[Settings], None] | None = None,
        options: dict[str, Any] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.app = app
        self.clock = clock
        self.hostname: str = expand_hostname(hostname)
        self.holder: str = f"{self.hostname}:{os.getpid()}:{uuid.uuid4().hex}"
        self.options: dict[str, Any] = dict(options or {})
        self.ready: threading.Event = threading.Event()
        self.started_at: float = time.time()
        self._stop_request = StopRequest()
        self._main: RunsInMain | None = None
        self._booting = threading.Lock()
        self._booted = False
        self._finished = threading.Event()
        self._returned = threading.Event()
        self._owns_process = False
        self._exitcode = EXIT_OK
        self._retiring = threading.Lock()
        self._running: Running | None = None
        self._signals: Signals | None = None
        app.import_modules()
        app.finalize()
        conf = app.conf
        self.timeout: float = conf.broker_timeout_seconds
        self.pool_name: str = pool or conf.worker_pool or default_pool()
        self.pool_class: Any = plugins.load("pool", self.pool_name)
        own_choice = self.pool_class.capabilities.default_concurrency or os.cpu_count() or 1
        self.concurrency: int = concurrency or conf.worker_concurrency or own_choice
        self.prefetch_multiplier: int | None = (
            prefetch_multiplier if prefetch_multiplier is not None else conf.worker_prefetch_multiplier
        )
        self.queues: list[Queue] = app.router.queues_to_consume(select=queues, exclude=exclude_queues)
        self._purge = purge
        self.rebuild: Rebuild | None = _rebuild(app, app_path, self.hostname, set_up_log)
        refuse_what_pool_lacks(app, self.pool_name, self.pool_class.capabilities)
        self.hooks: Hooks = activate([*app.connections.chosen_plugins(), ("pool", self.pool_name)], conf.plugins)
        self.consumer_graph: Graph = Graph(
            [*CONSUMER_STEPS, *self.hooks.steps(app, "consumer"), *app.steps["consumer"]],
            given=[APP, WORKER, EXECUTOR, INFLIGHT, PREFETCH, SETTLER, POOL, GENERATION],
        )
        self.worker_graph: Graph = Graph(
            [*WORKER_STEPS, *self.hooks.steps(app, "worker"), *app.steps["worker"]], given=[APP, WORKER]
        )

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for: nothing more is taken."""
        return self._stop_request.level is not Level.RUN

    def run(self, *, handle_signals: bool = False) -> int:
        """Boot, work until told to stop, unwind; return the exit code.

        It is 0; 1 after a cold stop or a failure; 75 after `retire`.

        With `handle_signals` the process is the worker's own: a cold stop ends it even if a task holds the main thread.

        Raises: what made the boot fail, with what had started unwound.
        """
        if not self._booting.acquire(blocking=False):
            raise RuntimeError("A Worker runs once. Make another one to start again.")
        events.worker_init.send(self)
        soft = self.app.conf.worker_soft_shutdown_timeout > 0
        self._signals = signals = Signals(self._ask, soft=soft, on_signal=self._interrupt)
        if handle_signals:
            self._owns_process = True
            signals.install()  # before anything is taken: a stop during the boot loses none of it
        try:
            self._run()
        finally:
            signals.restore()
        events.worker_shutdown.send(self, exitcode=self._exitcode)
        return self._exitcode

    def _run(self) -> None:
        values: dict[Key[Any], Any] = {APP: self.app, WORKER: self}
        running = start(self.worker_graph, values, timeout=BOOT_SECONDS, unwind_timeout=UNWIND_SECONDS)
        pool = running.get(POOL)
        self._main = pool if isinstance(pool, RunsInMain) else None
        self._running = running
        self._booted = True
        threading.Thread(target=self._stop_when_asked, args=(running,), name="celeriac-stopper", daemon=True).start()
        try:
            self._announce()
            while self._main is not None and not self.stopping:
                self._main.serve()
            self._finished.wait()
        except BaseException as error:
            # A KeyboardInterrupt, say, where no signals are handled: what was started is unwound all the same.
            self.fail(error)
            raise
        finally:
            self._finished.wait()
            self._returned.set()

    def _interrupt(self) -> None:
        """Make the main thread leave the pool; runs in a signal handler."""
        if self._main is not None:
            self._main.interrupt()

    def stop(self, how: str = "warm") -> None:
        """Ask for a stop: `warm`, `soft` or `cold`. Returns at once; `run` returns when it is done."""
        self._ask(_STOP_NAMES[how], None)

    def wait_unless_stopping(self, event: threading.Event, timeout: float) -> None:
        """Wait for an event of the boot, but no longer than until a stop is asked for."""
        end = time.monotonic() + timeout
        while not event.is_set() and time.monotonic() < end:
            if self._stop_request.wait_above(Level.RUN, 0.02):
                return

    def wait_until_stopped(self, timeout: float | None = None) -> bool:
        """Wait until everything is unwound; return False on timeout."""
        return self._finished.wait(timeout)

    def listen_to_signals(self) -> None:
        """Carry out signals from here on: the pool stands, so there may be threads."""
        if self._signals is not None:
            self._signals.listen()

    def fail(self, error: BaseException) -> None:
        """Stop because the worker cannot go on, with exit code 1."""
        logger.critical("worker stops: %s", error, extra={"event": "worker_failed"})
        self._exitcode = EXIT_FAILURE
        self._ask(Level.WARM, None)

    def retire(self, reason: str) -> None:
        """Stop warmly because the pool cannot go on for long, with exit code 75, so that a supervisor starts anew.

        Returns at once. It does nothing while a stop is under way.
        """
        if not self._retiring.acquire(blocking=False) or self.stopping:
            return
        logger.warning("worker retires: %s", reason, extra={"event": "worker_retires", "reason": reason})
        self._exitcode = EXIT_RETIRED
        self._ask(Level.WARM, None)

    def terminate(self, task_id: str, signal: str = "TERM") -> bool:
        """End every run of a task by force; see `PoolControl.terminate`."""
        return self._control.terminate(task_id, signal)

    def resize(self, slots: int) -> None:
        """Have so many slots from now on; see `PoolControl.resize`."""
        self._control.resize(slots)

    def pool_state(self) -> list[RunState]:
        """Return every task that runs now, the one that began first first."""
        return self._control.state()

    @property
    def _control(self) -> PoolControl:
        if self._running is None:
            raise RuntimeError("This worker does not run: it has no pool.")
        return self._running.get(POOL_CONTROL)

    def purge_if_asked(self, transport: Any) -> None:
        """Delete what waits on the queues, once, where the worker was started to do so."""
        if not self._purge:
            return
        if not isinstance(transport, Inspects):
            raise ConfigurationError("This broker cannot be purged. Start the worker without --purge.")
        for queue in self.queues:
            count = transport.purge(queue.name, timeout=self.timeout)
            logger.warning("%d messages purged from %s", count, queue.name, extra={"event": "purged"})
        self._purge = False

    def _announce(self) -> None:
        logger.info(
            "%s ready: pool %s with %d slots, queues %s",
            self.hostname,
            self.pool_name,
            self.concurrency,
            ", ".join(queue.name for queue in self.queues),
            extra={"event": "worker_ready", "pid": os.getpid(), "pool": self.pool_name},
        )
        events.worker_ready.send(self)
        self.ready.set()

    def _ask(self, level: Level, number: signal.Signals | None) -> None:
        self._stop_request.ask(level)
        how = self._stop_request.level.name.lower()
        logger.warning(
            "%s shutdown%s",
            how,
            f" ({number.name})" if number else "",
            extra={"event": "worker_shutting_down", "how": how},
        )
        events.worker_shutting_down.send(self, sig=number, how=how)
        if self._stop_request.level is Level.COLD and self._owns_process and not self._booted:
            self._leave("a boot step does not end")

    def _leave(self, why: str) -> None:
        """End the process from a thread of its own, since its main thread does not."""
        logger.warning("%s: process ends", why, extra={"event": "worker_held"})
        logging.shutdown()
        os._exit(EXIT_FAILURE)

    def _stop_when_asked(self, running: Running) -> None:
        """Wait for a request and carry it out; runs in a thread of its own."""
        self._stop_request.wait_above(Level.RUN)
        try:
            for phase in (self._stop, self._unwind):
                try:
                    phase(running)
                except BaseException:  # whatever it is, what was started must be unwound, and `run` return
                    logger.exception("shutdown failed", extra={"event": "shutdown_failed"})
                    self._exitcode = EXIT_FAILURE
        finally:
            self._finished.set()
        if self._owns_process and not self._returned.wait(HELD_SECONDS):
            # It cannot be ended otherwise; its message has been handed back.
            self._leave("a task holds the main thread")

    def _stop(self, running: Running) -> None:
        """Stop in order: take nothing more, hand back, wait for what runs, settle."""
        pool, settler, inflight = running.get(POOL), running.get(SETTLER), running.get(INFLIGHT)
        if isinstance(pool, RunsInMain):
            pool.interrupt()
        receiver = running.get(CONSUMER).current(RECEIVING)
        if receiver is not None:
            receiver.stop(self.timeout)
        settler.flush(self.timeout)  # what had to be acknowledged first is then in the pool, or known to be refused
        settler.give_back(pool.drain(), started=False)
        if not self._wait_for_runs(running):
            self._exitcode = EXIT_FAILURE
        abandoned = pool.stop(0.1 if inflight.running else self.timeout)
        settler.give_back([each for each in abandoned if not inflight.has_started(each.key)], started=False)
        for request in settler.give_back([each for each in abandoned if inflight.has_started(each.key)], started=True):
            logger.error("task %s[%s] is lost: it ran at most once", request.task, request.id, extra={"event": "lost"})
        if not settler.flush(self.timeout * 2):
            logger.error("not everything could be settled", extra={"event": "flush_failed"})
            self._exitcode = EXIT_FAILURE

    def _unwind(self, running: Running) -> None:
        try:
            running.stop(UNWIND_SECONDS)
        except BaseExceptionGroup as group:
            for error in group.exceptions:
                logger.error(  # noqa: TRY400  of an error of the group, and not of the group, with its traceback
                    "boot step not stopped: %s", error, exc_info=error, extra={"event": "unwind_failed"}
                )

    def _wait_for_runs(self, running: Running) -> bool:
        """Wait as long as the level allows for running tasks; return whether all have ended.

        Some may be between the pool's queue and their first line: all counts that is held and not handed in.
        """
        inflight, settler = running.get(INFLIGHT), running.get(SETTLER)
        began = time.monotonic()
        conf = self.app.conf
        while inflight.keys() - settler.keys():
            level = self._stop_request.level
            if level is Level.COLD:
                return False
            allowed = conf.worker_shutdown_timeout_seconds if level is Level.WARM else conf.worker_soft_shutdown_timeout
            if allowed is not None and time.monotonic() - began > allowed:
                logger.warning("tasks still run after %.1f s: cold shutdown", allowed, extra={"event": "worker_cold"})
                return False
            inflight.wait_until_at_most(0, 0.05)
        return True


def _rebuild(
    app: Celeriac, path: str | None, hostname: str, set_up_log: Callable[[Settings], None] | None
) -> Rebuild | None:
    if path is None:
        return None
    return Rebuild(
        app=path,
        hostname=hostname,
        config=app.conf.object_path,
        overrides=app.conf.overrides,
        set_up_log=set_up_log,
    )


def default_pool() -> str:
    """Return the pool of a worker that is not told: prefork where it is installed, else threads."""
    installed = plugins.names("pool")
    return next((name for name in ("prefork", "threads", "solo") if name in installed), "threads")
