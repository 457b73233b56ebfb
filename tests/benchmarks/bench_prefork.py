"""What the prefork pool itself costs: no broker, no executor, tasks that only make their outcome.

nox -s bench -- prefork [--quick] [--only PATTERN] [--json FILE]
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Sequence

from rig import Figure, Measure, report

from celeriac.model.message import Message
from celeriac.model.outcome import Outcome
from celeriac.model.record import SUCCESS, ResultRecord
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac_prefork.pool import PreforkPool

ID = "0b5f3c1e-6f0e-4a7c-9d55-0d6a2f0b7a11"
PAYLOAD = (
    b'{"status":"SUCCESS","result":3,"traceback":null,"children":[],"date_done":"2026-01-01T00:00:00+00:00",'
    b'"task_id":"%s"}' % ID.encode()
)
HEADERS = {
    "lang": "py", "task": "bench.add", "id": ID, "shadow": None, "eta": None, "expires": None, "group": None,
    "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": ID, "parent_id": None,
    "argsrepr": "(1, 2)", "kwargsrepr": "{}", "origin": "gen1@box", "ignore_result": False,
}  # fmt: skip
BODY = b'[[1,2],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


def execute(request: Request) -> Outcome:
    if request.task == "hold":
        time.sleep(10)
    return Outcome(
        key=request.key,
        state=SUCCESS,
        records=(ResultRecord(id=request.id, state=SUCCESS, payload=PAYLOAD),),
        runtime=1e-5,
    )


def a_request(key: int, task: str = "add") -> Request:
    message = Message(body=BODY, routing_key="celery", headers=HEADERS, properties={"correlation_id": ID})
    return Request(key=key, task=task, id=ID, message=message, queue="celery", deliveries=1, received=0.0)


class Bench:
    """A pool, and how many outcomes it has brought."""

    def __init__(self, children: int, wanted: int, **context: int) -> None:
        self._wanted = wanted
        self._count = 0
        self._done = threading.Event()
        self.pool = PreforkPool(
            children,
            PoolContext(
                execute=execute,
                failed=lambda request, error: Outcome(key=request.key, state="FAILURE", error=repr(error)),
                report=self._report,
                started=lambda _: None,
                **context,
            ),
        )

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        self._count += len(outcomes)
        if self._count >= self._wanted:
            self._done.set()

    def work(self, requests: list[Request]) -> None:
        for place in range(0, len(requests), 500):
            self.pool.submit(requests[place : place + 500])
        if not self._done.wait(300):
            raise TimeoutError(f"{self._count} of {self._wanted} outcomes came")


def tiny(count: int, children: int, figure: Callable[[float, float], float], **context: int) -> Measure:
    """`figure` of the seconds, and of the parent's seconds of CPU, that so many tiny tasks take."""

    def measure(_: str) -> float:
        requests = [a_request(key) for key in range(count)]
        bench = Bench(children, count, **context)
        bench.pool.start()
        time.sleep(0.2)
        began, cpu = time.perf_counter(), time.process_time()
        bench.work(requests)
        value = figure(time.perf_counter() - began, time.process_time() - cpu)
        bench.pool.stop(None)
        return value

    return measure


def child_cpu(count: int) -> Measure:
    """Microseconds of CPU of one child for one tiny task."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def measure(peer: str) -> float:
        before = used()
        tiny(count, 1, lambda *_: 0.0)(peer)
        return (used() - before) / count * 1e6

    return measure


def beside_a_long_one(count: int) -> Measure:
    """Milliseconds that so many tiny tasks take on two children, one of which is busy for ten seconds."""

    def measure(_: str) -> float:
        bench = Bench(2, count)
        bench.pool.start()
        bench.pool.submit([a_request(0, "hold")])
        time.sleep(0.2)
        began = time.perf_counter()
        bench.work([a_request(key) for key in range(1, count + 1)])
        value = (time.perf_counter() - began) * 1e3
        bench.pool.stop(0)
        return value

    return measure


def figures(scale: int) -> Sequence[Figure]:
    count = 200_000 // scale
    recycled = 500 // scale
    return [
        Figure(name="tiny, 1 child, tasks/s", measure=tiny(count, 1, lambda wall, _: count / wall), alone=True),
        Figure(name="tiny, 2 children, tasks/s", measure=tiny(count, 2, lambda wall, _: count / wall), alone=True),
        Figure(name="parent's CPU, µs", measure=tiny(count, 2, lambda _, cpu: cpu / count * 1e6), alone=True),
        Figure(name="a child's CPU, µs", measure=child_cpu(count), alone=True),
        Figure(name="1,000 tiny ones beside a long one, ms", measure=beside_a_long_one(1000), alone=True),
        Figure(
            name="a child for every task, tasks/s",
            measure=tiny(recycled, 2, lambda wall, _: recycled / wall, max_tasks_per_child=1),
            alone=True,
        ),
    ]


if __name__ == "__main__":
    report(__doc__, figures)
