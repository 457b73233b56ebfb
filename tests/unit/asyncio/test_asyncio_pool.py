from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import types
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from pool_bench import PATIENCE, PoolBench, thread_names, wait_for

from celeriac.model.record import FAILURE, SUCCESS
from celeriac_asyncio.loop_thread import new_loop
from celeriac_asyncio.pool import AsyncioPool

MANY = 2000


@pytest.fixture
def bench() -> Iterator[PoolBench]:
    bench = PoolBench(AsyncioPool, 4, plain_threads=2)
    bench.pool.start()
    yield bench
    bench.pool.stop(PATIENCE)


def test_thousands_of_coroutines_wait_at_once() -> None:
    bench = PoolBench(AsyncioPool, MANY)
    bench.pool.start()
    gates: list[asyncio.Event] = []
    loops = set()

    async def waits() -> None:
        loops.add(asyncio.get_running_loop())
        gates.append(asyncio.Event())
        await gates[-1].wait()

    bench.pool.submit([bench.request(waits) for _ in range(MANY)])
    wait_for(lambda: len(gates) == MANY, "all coroutines wait")
    (loop,) = loops
    for gate in gates:
        loop.call_soon_threadsafe(gate.set)
    states = {bench.next().state for _ in range(MANY)}
    bench.pool.stop(PATIENCE)

    assert states == {SUCCESS}


def test_what_ends_in_one_turn_of_the_loop_is_reported_together() -> None:
    bench = PoolBench(AsyncioPool, 100)
    bench.pool.start()

    async def quick() -> None:
        pass

    bench.pool.submit([bench.request(quick) for _ in range(100)])
    for _ in range(100):
        bench.next()
    bench.pool.stop(PATIENCE)

    assert bench.batches == [100]


def test_each_coroutine_keeps_its_context_variables_across_await() -> None:
    bench = PoolBench(AsyncioPool, 50)
    bench.pool.start()
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine", default=0)
    numbers = iter(range(1, 51))

    async def keeps() -> bool:
        assert mine.get() == 0
        number = next(numbers)
        mine.set(number)
        for _ in range(10):
            await asyncio.sleep(0)
        return mine.get() == number

    bench.pool.submit([bench.request(keeps) for _ in range(50)])
    kept = {bench.next().reason for _ in range(50)}
    bench.pool.stop(PATIENCE)

    assert kept == {"True"}


def test_plain_functions_have_threads_of_their_own_and_keep_no_coroutine_waiting(bench: PoolBench) -> None:
    gate = threading.Event()
    names: list[str] = []

    def blocks() -> None:
        names.append(threading.current_thread().name)
        assert gate.wait(PATIENCE)

    async def quick() -> str:
        return threading.current_thread().name

    bench.pool.submit([*(bench.request(blocks) for _ in range(5)), bench.request(quick)])

    assert bench.next().reason == "celeriac-asyncio"
    wait_for(lambda: len(names) == 2, "two plain functions run on the two threads")
    assert len(bench.started) == 3
    gate.set()
    assert {bench.next().state for _ in range(5)} == {SUCCESS}
    assert {name.rpartition("-")[0] for name in names} == {"celeriac-asyncio-plain"}


def test_plain_functions_count_as_slots(bench: PoolBench) -> None:
    gate = threading.Event()
    at_once: list[int] = []

    async def waits() -> None:
        at_once.append(1)
        while not gate.is_set():
            await asyncio.sleep(0.002)

    blocking = [bench.request(lambda: gate.wait(PATIENCE)) for _ in range(2)]
    waiting = [bench.request(waits) for _ in range(4)]
    bench.pool.submit([*blocking, *waiting])
    wait_for(lambda: len(bench.started) == 4, "four run")

    assert len(at_once) == 2
    assert [request.key for request in bench.pool.drain()] == [request.key for request in waiting[2:]]
    gate.set()


def test_drain_returns_both_kinds_in_order(bench: PoolBench) -> None:
    gate = threading.Event()

    async def waits() -> None:
        while not gate.is_set():
            await asyncio.sleep(0.002)

    running = [bench.request(lambda: gate.wait(PATIENCE)), bench.request(lambda: gate.wait(PATIENCE))]
    aside = [bench.request(lambda: None) for _ in range(3)]
    more = [bench.request(waits), bench.request(waits)]
    waiting = [bench.request(waits), bench.request(lambda: None)]
    bench.pool.submit([*running, *aside, *more, *waiting])
    wait_for(lambda: len(bench.started) == 4, "four run")

    assert [request.key for request in bench.pool.drain()] == [request.key for request in (*aside, *waiting)]
    gate.set()


def test_without_a_way_to_await_coroutines_everything_runs_on_threads() -> None:
    bench = PoolBench(lambda slots, context: AsyncioPool(slots, _without_aexecute(context)))
    bench.pool.start()

    assert bench.run(lambda: "ran").reason == "ran"
    assert bench.pool.stop(PATIENCE) == []


def _without_aexecute(context):
    return replace(context, aexecute=None)


def test_what_a_coroutine_leaves_on_the_loop_does_not_end_it(bench: PoolBench) -> None:
    async def leaves() -> None:
        async def exits() -> None:
            raise SystemExit("of a task of its own")

        bench.kept = asyncio.create_task(exits())  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)

    async def quick() -> str:
        return "still there"

    assert bench.run(leaves).state == SUCCESS
    assert bench.run(quick).reason == "still there"
    assert bench.kept.done()  # type: ignore[attr-defined]
    assert isinstance(bench.kept.exception(), SystemExit)  # type: ignore[attr-defined]


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_comes_out_of_a_run_fails_it_and_keeps_the_slot(bench: PoolBench, leaving) -> None:
    async def leaves() -> None:
        raise leaving("on its way out")

    async def quick() -> str:
        return "next"

    failed = bench.run(leaves)
    assert (failed.state, failed.error) == (FAILURE, f"{leaving.__name__}('on its way out')")
    for _ in range(5):
        assert bench.run(quick).reason == "next"


def test_a_stop_at_its_deadline_cancels_the_coroutines_and_lets_them_tidy_up(bench: PoolBench) -> None:
    tidied = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            tidied.set()

    request = bench.submit(waits)
    wait_for(lambda: bench.started, "it runs")

    assert bench.pool.stop(0) == [request]
    assert tidied.is_set()
    assert bench.outcomes.empty()


def test_a_stop_does_not_wait_for_what_blocks_the_loop(bench: PoolBench) -> None:
    gate = threading.Event()

    async def blocks() -> None:
        gate.wait(PATIENCE)

    request = bench.submit(blocks)
    wait_for(lambda: bench.started, "it runs")

    returned = bench.pool.stop(0)

    gate.set()
    assert returned == [request]
    wait_for(lambda: not thread_names("celeriac-asyncio"), "its threads end")
    assert bench.outcomes.empty()


def test_tasks_that_coroutines_began_are_cancelled_at_the_stop_and_their_threads_end(bench: PoolBench) -> None:
    cancelled = threading.Event()

    async def lingers() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def begins() -> str:
        bench.kept = asyncio.create_task(lingers())  # type: ignore[attr-defined]
        return await asyncio.to_thread(lambda: "in a thread")

    assert bench.run(begins).reason == "in a thread"
    assert bench.pool.stop(None) == []

    assert cancelled.is_set()
    wait_for(lambda: not thread_names("celeriac-asyncio"), "its threads end")


def test_more_slots_take_what_waits_at_once(bench: PoolBench) -> None:
    gate = threading.Event()

    async def waits() -> None:
        while not gate.is_set():
            await asyncio.sleep(0.002)

    bench.pool.submit([bench.request(waits) for _ in range(8)])
    wait_for(lambda: len(bench.started) == 4, "four run")

    bench.pool.resize(8)

    wait_for(lambda: len(bench.started) == 8, "eight run")
    gate.set()


def test_uvloop_is_used_where_it_is_installed_and_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class FastLoop(asyncio.SelectorEventLoop):
        pass

    module = types.ModuleType("uvloop")
    module.new_event_loop = FastLoop  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvloop", module)

    loops = [new_loop(), new_loop(uvloop=False)]

    for loop in loops:
        loop.close()
    assert [isinstance(loop, FastLoop) for loop in loops] == [True, False]


def test_the_pool_tells_in_which_thread_a_task_runs(bench: PoolBench) -> None:
    gate = threading.Event()

    async def waits() -> None:
        while not gate.is_set():
            await asyncio.sleep(0.002)

    requests = [bench.submit(waits), bench.submit(lambda: gate.wait(PATIENCE))]
    wait_for(lambda: len(bench.started) == 2, "both run")

    places = [bench.pool.place(request.key) for request in requests]

    gate.set()
    assert places[0] == "celeriac-asyncio"
    assert places[1].startswith("celeriac-asyncio-plain-")
    assert bench.pool.place(999) is None
