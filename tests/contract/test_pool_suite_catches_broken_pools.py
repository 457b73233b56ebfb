"""Each test of what every pool must do fails a pool that is broken in just that way.

A broken pool is the sound one of threads, or solo, with one defect. `DEFECTS` says which test must see it.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Any, ClassVar

import msgspec
import pytest

from celeriac.errors import InternalError
from celeriac.model.outcome import Outcome
from celeriac.model.record import FAILURE
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_work import WorkContract
from celeriac.testing.harness import PoolHarness
from celeriac_solo.pool import SoloPool
from celeriac_threads.pool import ThreadsPool

Report = Callable[[Sequence[Outcome]], None]


class WithContext(ThreadsPool):
    """A pool of threads that was given another context than it should have."""

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, msgspec.structs.replace(context, **self.changed(context)))

    def changed(self, context: PoolContext) -> dict[str, Any]:
        raise NotImplementedError


class LosesOneInTen(ThreadsPool):
    def _submit(self, requests: Sequence[Request]) -> None:
        super()._submit([request for request in requests if request.key % 10])


class ReportsTwice(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        return {"report": lambda outcomes: context.report([*outcomes, *outcomes])}


class RunsTwice(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        return {"execute": lambda request: context.execute(request) and context.execute(request)}


class NeverTellsOfTheStart(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        return {"started": lambda _: None}


class TellsOfTheStartAtTheEnd(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        begun: dict[int, Request] = {}

        def report(outcomes: Sequence[Outcome]) -> None:
            context.report(outcomes)
            for outcome in outcomes:
                context.started(begun[outcome.key])

        return {"started": lambda request: begun.update({request.key: request}), "report": report}


class MixesUpOutcomes(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        def execute(request: Request) -> Outcome:
            return msgspec.structs.replace(context.execute(request), key=3 - request.key)

        return {"execute": execute}


class CutsWhatIsLarge(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        def report(outcomes: Sequence[Outcome]) -> None:
            context.report([msgspec.structs.replace(each, reason=each.reason[:1_000_000]) for each in outcomes])

        return {"report": report}


class SharesContextVariables(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        own = threading.local()

        def execute(request: Request) -> Outcome:
            if not hasattr(own, "variables"):
                own.variables = copy_context()
            outcome: Outcome = own.variables.run(context.execute, request)
            return outcome

        return {"execute": execute}


class Reorders(ThreadsPool):
    def _submit(self, requests: Sequence[Request]) -> None:
        super()._submit(requests[::-1])


class HasOneSlotMoreThanItSays(ThreadsPool):
    def _start(self) -> None:
        self.concurrency += 1
        super()._start()
        self.concurrency -= 1


class HasOneSlotLessThanItSays(ThreadsPool):
    def _start(self) -> None:
        self.concurrency -= 1
        super()._start()
        self.concurrency += 1


class DealsRequestsOutToSlots(ThreadsPool):
    """Each slot has a queue of its own, so that a task may wait behind a long one."""

    def _start(self) -> None:
        self.pools = [ThreadsPool(1, self.context) for _ in range(self.concurrency)]
        for pool in self.pools:
            pool.start()

    def _submit(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self.pools[request.key % self.concurrency].submit([request])

    def _stop(self, timeout: float | None) -> list[Request]:
        return [request for pool in self.pools for request in pool.stop(timeout)]


class WakesOnlyForTwo(ThreadsPool):
    def _submit(self, requests: Sequence[Request]) -> None:
        if len(requests) > 1:
            super()._submit(requests)
        else:
            self.waiting.extend(requests)


class ReportsInBatchesOfThirty(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        gathered: list[Outcome] = []
        self.flush: Callable[[], None] = lambda: context.report([gathered.pop(0) for _ in list(gathered)])

        def report(outcomes: Sequence[Outcome]) -> None:
            gathered.extend(outcomes)
            if len(gathered) >= 30:
                self.flush()

        return {"report": report}

    def _stop(self, timeout: float | None) -> list[Request]:
        unended = super()._stop(timeout)
        self.flush()
        return unended


class BlocksInSubmit(ThreadsPool):
    """At most 100 requests at a time."""

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        self.ending = threading.Event()

    def _submit(self, requests: Sequence[Request]) -> None:
        if len(requests) > 100:
            self.ending.wait()
        with suppress(InternalError):
            super()._submit(requests)

    def _stop(self, timeout: float | None) -> list[Request]:
        self.ending.set()
        return super()._stop(timeout)


class DrainsInReverse(ThreadsPool):
    def _drain(self) -> list[Request]:
        return super()._drain()[::-1]


class DrainsACopy(ThreadsPool):
    def _drain(self) -> list[Request]:
        return list(self.waiting)


class TakesNothingAfterADrain(ThreadsPool):
    drained = False

    def _drain(self) -> list[Request]:
        self.drained = True
        return super()._drain()

    def _submit(self, requests: Sequence[Request]) -> None:
        if not self.drained:
            super()._submit(requests)


class FailsToDrainNothing(ThreadsPool):
    def _drain(self) -> list[Request]:
        if not self.waiting and not self.stopped:
            raise RuntimeError("nothing to drain")
        return super()._drain()


class DoesNotWait(ThreadsPool):
    def _stop(self, timeout: float | None) -> list[Request]:
        return super()._stop(0)


class DawdlesInStop(ThreadsPool):
    def _stop(self, timeout: float | None) -> list[Request]:
        if not self.stopped:
            threading.Event().wait(1.1)
        return super()._stop(timeout)


class ReportsWhatItGaveBack(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        def execute(request: Request) -> Outcome:
            outcome = context.execute(request)
            context.report([outcome])
            return outcome

        return {"execute": execute, "report": lambda _: None}


class ReturnsTheSameAgain(ThreadsPool):
    answer: Sequence[Request] = ()

    def _stop(self, timeout: float | None) -> list[Request]:
        self.answer = [*self.answer, *super()._stop(timeout)]
        return self.answer


class RunsOnAfterTheStop(ThreadsPool):
    """Its threads end only when nothing waits any more."""

    def _stop(self, timeout: float | None) -> list[Request]:
        returned = list(self.waiting)
        copy = self.waiting.copy()
        super()._stop(timeout)
        for request in copy:
            self.context.report([self.context.execute(request)])
        return returned


class NeedsItsStart(ThreadsPool):
    def _stop(self, timeout: float | None) -> list[Request]:
        if not self._slots and not self.stopped:
            raise RuntimeError("not started")
        return super()._stop(timeout)


class SwallowsWhatComesAfterTheStop(ThreadsPool):
    def _submit(self, requests: Sequence[Request]) -> None:
        if not self.stopped:
            super()._submit(requests)


class KeepsADescriptor(ThreadsPool):
    kept: ClassVar[list[int]] = []

    def _start(self) -> None:
        self.kept.extend(os.pipe())
        super()._start()


class LosesFailedRuns(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        return {"report": lambda outcomes: context.report([o for o in outcomes if o.state != FAILURE])}


class LosesASlotWithEachFailure(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        self.ending = threading.Event()

        def report(outcomes: Sequence[Outcome]) -> None:
            context.report(outcomes)
            if outcomes[0].state == FAILURE:
                self.ending.wait()

        return {"report": report}

    def _stop(self, timeout: float | None) -> list[Request]:
        self.ending.set()
        return super()._stop(timeout)


class IgnoresInterrupts(SoloPool):
    stopping = False

    def interrupt(self) -> None:
        if self.stopping:
            super().interrupt()

    def _stop(self, timeout: float | None) -> list[Request]:
        self.stopping = True
        return super()._stop(timeout)


class ForgetsWhatWaitedWhenInterrupted(SoloPool):
    def interrupt(self) -> None:
        super().interrupt()
        self._waiting.clear()


class EndsWithAWrongRequestAfterASignal(SoloPool):
    def serve(self) -> None:
        super().serve()
        self._waiting.clear()
        self._running = None
        self.context.report([Outcome(key=1, state=FAILURE)])


DEFECTS: dict[str, list[type[ThreadsPool | SoloPool]]] = {
    "every_request_of_several_submitters_is_reported_once": [
        LosesOneInTen, ReportsTwice, RunsTwice, NeverTellsOfTheStart, TellsOfTheStartAtTheEnd,
    ],
    "nothing_is_lost_or_doubled_by_draining_under_load": [TakesNothingAfterADrain],
    "nothing_is_lost_or_doubled_by_a_stop_under_load": [RunsOnAfterTheStop],
    "an_outcome_carries_the_key_and_the_result_of_its_run": [MixesUpOutcomes],
    "megabytes_go_to_a_task_and_come_back": [CutsWhatIsLarge],
    "no_task_sees_a_context_variable_of_another": [SharesContextVariables],
    "one_slot_starts_requests_in_the_order_of_submission": [Reorders],
    "no_slot_overtakes_another_by_more_than_its_own_run": [Reorders],
    "as_many_tasks_run_at_once_as_there_are_slots_and_no_more": [HasOneSlotMoreThanItSays, HasOneSlotLessThanItSays],
    "no_task_waits_behind_a_running_one_while_a_slot_is_free": [DealsRequestsOutToSlots],
    "a_slot_that_slept_wakes_for_a_single_request": [WakesOnlyForTwo],
    "what_is_finished_is_reported_while_the_next_one_runs": [ReportsInBatchesOfThirty],
    "submit_does_not_wait_for_tasks": [BlocksInSubmit],
    "drain_returns_in_order_what_has_not_started_and_the_pool_goes_on": [DrainsInReverse, TakesNothingAfterADrain],
    "drained_requests_can_be_submitted_again": [DrainsACopy, TakesNothingAfterADrain],
    "an_idle_pool_has_nothing_to_drain_and_takes_an_empty_batch": [FailsToDrainNothing],
    "stop_waits_for_what_runs_and_returns_what_has_not_started": [DoesNotWait, ReturnsTheSameAgain],
    "stop_returns_at_its_deadline_what_does_not_end": [DawdlesInStop, ReportsWhatItGaveBack],
    "stop_of_an_idle_pool_returns_at_once_and_a_second_one_does_nothing": [DawdlesInStop],
    "stop_of_a_pool_that_was_never_started_does_nothing": [NeedsItsStart],
    "nothing_that_comes_after_the_stop_runs": [SwallowsWhatComesAfterTheStop],
    "pools_that_were_stopped_leave_neither_threads_nor_descriptors": [KeepsADescriptor],
    "an_execute_that_raises_ends_its_own_run_and_costs_no_slot": [LosesFailedRuns, LosesASlotWithEachFailure],
    "interrupt_ends_serve_after_the_task_that_runs": [IgnoresInterrupts, ForgetsWhatWaitedWhenInterrupted],
    "interrupt_works_in_a_signal_handler": [EndsWithAWrongRequestAfterASignal],
}  # fmt: skip

PARAMETERS: dict[str, dict[str, Any]] = {
    "stop_returns_at_its_deadline_what_does_not_end": {"timeout": 0.0},
    "an_execute_that_raises_ends_its_own_run_and_costs_no_slot": {"task": "exits"},
}


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Close what `KeepsADescriptor` leaves open on purpose."""
    yield
    for descriptor in KeepsADescriptor.kept:
        os.close(descriptor)
    KeepsADescriptor.kept.clear()


def harness(broken: type[ThreadsPool | SoloPool]) -> PoolHarness:
    def make(concurrency: int, context: PoolContext) -> ThreadsPool | SoloPool:
        return broken(1 if issubclass(broken, SoloPool) else concurrency, context)

    return PoolHarness(make=make, patience=0.3)


@pytest.mark.parametrize(("promise", "broken"), [(name, pool) for name, pools in DEFECTS.items() for pool in pools])
def test_a_broken_pool_fails(promise: str, broken: type[ThreadsPool | SoloPool]) -> None:
    test = getattr(WorkContract(), f"test_{promise}")

    def show() -> None:
        # Whether a defect under load shows itself is also a matter of which thread runs when: it gets several chances.
        for _ in range(5):
            test(harness(broken), **PARAMETERS.get(promise, {}))

    with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError)):
        show()


def test_every_test_of_the_contract_is_shown_to_fail_some_pool() -> None:
    tests = [name for name, _ in inspect.getmembers(WorkContract, inspect.isfunction) if name.startswith("test_")]

    assert sorted(f"test_{promise}" for promise in DEFECTS) == sorted(tests)
