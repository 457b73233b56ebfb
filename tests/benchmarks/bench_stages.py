"""Where a worker's time goes: microseconds of CPU per no-op task, in each part of the runtime and in all of it.

    nox -s bench -- stages

The transport here costs nothing: it gives prepared deliveries and takes verdicts without looking at them. CPU time of
the process, or of the thread, and the least of several runs: what a loaded machine disturbs least.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context

from celeriac import Celeriac
from celeriac.errors import Unsupported
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.record import ResultRecord
from celeriac.runtime.admission import Admission
from celeriac.runtime.commits import Stores
from celeriac.runtime.executor import Executor
from celeriac.runtime.inflight import Inflight
from celeriac.runtime.journal import Journal
from celeriac.runtime.prefetch import Prefetch
from celeriac.runtime.settler import Settler
from celeriac.runtime.worker import Worker
from celeriac.spi.results import ResultStore
from celeriac.spi.service import Context
from celeriac.spi.transport import Commits, Transport, TransportCapabilities

ADDRESS = Address.parse("memory://stages")
TASKS = 40_000
FEW = 4_000
RUNS = 5


class NoResults(ResultStore):
    """Keeps nothing."""

    def _open(self, timeout: float) -> None: ...
    def _close(self) -> None: ...
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None: ...

    def _get(self, ids: Sequence[str], timeout: float) -> dict[str, ResultRecord]:
        return {}

    def _delete(self, ids: Sequence[str], timeout: float) -> int:
        return 0


class Prepared(Transport, Commits):
    """Gives deliveries that were made before, and takes verdicts."""

    capabilities = TransportCapabilities(delays=True, priorities=10, commits=True)

    def __init__(self, deliveries: list[Delivery]) -> None:
        super().__init__(ADDRESS, Context())
        self._left = deliveries
        self._count = len(deliveries)
        self._woken = threading.Event()
        self.done = threading.Event()
        self.began = self.cpu = 0.0

    def commits_with(self, results: ResultStore) -> bool:
        return True

    def _open(self, timeout: float) -> None: ...
    def _close(self) -> None: ...
    def _publish(self, messages: Sequence[Message], timeout: float) -> None: ...

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        if not self._left:
            self._woken.wait(timeout)
            return []
        self.began = self.began or time.process_time()
        taken = self._left[-limit:]
        del self._left[-limit:]
        return taken

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        self._count -= len(verdicts)
        if not self._count:
            self.cpu = time.process_time() - self.began
            self.done.set()
        return []

    def _wake(self) -> None:
        self._woken.set()


def make_app(*, results: bool) -> Celeriac:
    app = Celeriac("stages", broker="memory://stages", task_ignore_result=not results)
    app.task(name="noop")(noop)
    app.finalize()
    app.connections.new_results = lambda: NoResults(ADDRESS, Context())
    app.connections.new_coordinator = nobody_coordinates
    return app


def noop() -> None: ...


def nobody_coordinates() -> None:
    raise Unsupported("coordination", "Nothing here", [])


def prepare(app: Celeriac, count: int) -> list[Delivery]:
    task = app.tasks["noop"]
    return [
        Delivery(message=app.publisher.build("noop", (), {}, task=task), queue="celery", tag=n) for n in range(count)
    ]


def whole_worker(app: Celeriac) -> float:
    """Return the CPU of a solo worker per task, from the first it takes to the last it settles."""
    transport = Prepared(prepare(app, TASKS))
    app.connections.new_transport = lambda _: transport
    worker = Worker(app, pool="solo", concurrency=1)
    threading.Thread(target=lambda: (transport.done.wait(), worker.stop()), daemon=True).start()
    worker.run()
    return transport.cpu / TASKS * 1e6


def least(work: Callable[[], object]) -> float:
    """Return the CPU of one thread per task for work on `FEW` tasks."""
    best = float("inf")
    for _ in range(3 * RUNS):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best / FEW * 1e6


def stages(app: Celeriac) -> dict[str, float]:
    executor, inflight = Executor(app, "stages@box"), Inflight(app.clock)
    admission = Admission(app, executor.failures, inflight, None, app.clock)
    settler = Settler(inflight=inflight, prefetch=Prefetch(1), journal=Journal(), timeout=1.0)
    deliveries = prepare(app, FEW)
    held = admission.admit(deliveries).ready
    requests = [one.request for one in held]
    outcomes = [executor.execute(request) for request in requests]
    variables = copy_context()
    stores = Stores(Prepared([]), NoResults(ADDRESS, Context()), 1.0)

    def report() -> None:
        settler._reported.clear()
        for outcome in outcomes:
            settler.report((outcome,))

    def settle() -> None:
        inflight.add(held)
        settler._reported.extend(outcomes)
        settler._absorb()
        batch, settler._pending = settler._pending, []
        settler._settle_all(batch, stores)

    gc.collect()
    gc.disable()
    try:
        return {
            "admit": least(lambda: admission.admit(deliveries)),
            "execute": least(lambda: [variables.copy().run(executor.execute, request) for request in requests]),
            "report": least(report),
            "settle": least(settle),
        }
    finally:
        gc.enable()


def main() -> None:
    logging.disable(logging.WARNING)
    print(f"\nCPU per no-op task, µs; least of {RUNS} runs\n")
    print(f"{'':24}{'with results':>14}{'without':>12}")
    columns = []
    for results in (True, False):
        app = make_app(results=results)
        column = stages(app)
        column["whole worker"] = min(whole_worker(app) for _ in range(RUNS))
        columns.append(column)
    for name, value in columns[0].items():
        print(f"{name:24}{value:14.2f}{columns[1][name]:12.2f}")


if __name__ == "__main__":
    main()
