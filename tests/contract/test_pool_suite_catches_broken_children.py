"""Each test of what only some pools declare fails a pool that is broken in just that way.

A broken pool is the sound model with one defect.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from model_pool import Child, ModelPool, Slot

from celeriac.errors import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celeriac.model.outcome import Outcome
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool import PoolContract
from celeriac.testing.contracts.pool_children import ChildrenContract
from celeriac.testing.contracts.pool_endings import EndingsContract
from celeriac.testing.contracts.pool_lifetimes import LifetimesContract
from celeriac.testing.contracts.pool_limits import LimitsContract
from celeriac.testing.contracts.pool_sizes import SizesContract
from celeriac.testing.harness import PoolHarness

replace = msgspec.structs.replace


class WithSlot(ModelPool):
    """The model with slots of another kind."""

    slot: ClassVar[type[Slot]]

    def resize(self, concurrency: int) -> None:
        with self.changed:
            self.concurrency = concurrency
            while not self.stopped and len(self.living()) < concurrency:
                self.slots.append(self.slot(self))
                self.slots[-1].start()
            self.changed.notify_all()


def with_slot(**methods: Any) -> type[ModelPool]:
    """Return the model whose slots have other methods."""
    return type("Broken", (WithSlot,), {"slot": type("BrokenSlot", (Slot,), methods)})


def altered(**fields: Any) -> type[ModelPool]:
    """Return the model that is given other requests than it was submitted."""

    def _submit(self: ModelPool, requests: Sequence[Request]) -> None:
        ModelPool._submit(self, [replace(request, **fields) for request in requests])

    return type("Broken", (ModelPool,), {"_submit": _submit})


def until_terminated(pool: type[ModelPool]) -> type[ModelPool]:
    """Return the pool with runs that are there when they are terminated, however slow the machine is."""

    def _submit(self: ModelPool, requests: Sequence[Request]) -> None:
        ModelPool._submit(self, [replace(request, task="gated") for request in requests])

    return type("Broken", (pool,), {"_submit": _submit})


def differently(**changed: Any) -> type[ModelPool]:
    """Return the model with another context: each of `changed` makes a field of the context from the context."""

    def __init__(self: ModelPool, concurrency: int, context: PoolContext) -> None:  # noqa: N807  of the class below
        made = {name: make(context) for name, make in changed.items()}
        ModelPool.__init__(self, concurrency, replace(context, **made))

    return type("Broken", (ModelPool,), {"__init__": __init__})


def failing_with(error: BaseException) -> type[ModelPool]:
    """Return the model whose lost runs end in one error, whatever it was."""
    return differently(failed=lambda context: _Failing(context.failed, error))


class _Failing:
    """What makes outcomes in a process of the pool too: it is copied there."""

    def __init__(self, failed: Any, error: BaseException) -> None:
        self.failed, self.error = failed, error

    def __call__(self, request: Request, _: BaseException) -> Outcome:
        return self.failed(request, self.error)


# -- limits ----------------------------------------------------------------------------------------


class SoftTwice(Slot):
    def wait(self, request: Request, child: Child) -> Any:
        if request.soft_time_limit is None:
            return super().wait(request, child)
        if child.pipe.poll(request.soft_time_limit):
            return child.pipe.recv()
        child.pipe.poll(0.1)
        return failed_twice(request), 0


def failed_twice(request: Request) -> Outcome:
    return Outcome(key=request.key, state="SUCCESS", reason="caught twice")


def soft_into_the_next(self: Slot, request: Request, child: Child) -> None:
    """End the run, and leave the limit to whoever comes next."""
    self.pool.waiting = type(self.pool.waiting)(
        replace(each, soft_time_limit=0.001) if place == 0 else each for place, each in enumerate(self.pool.waiting)
    )
    Slot.soft_limit(self, request, child)


def soft_into_all(self: Slot, request: Request, child: Child) -> None:
    for slot in self.pool.slots:
        if slot.child is not None and slot.running is not None and slot is not self:
            slot.why = SoftTimeLimitExceeded(request.soft_time_limit)
            slot.kill()
    Slot.soft_limit(self, request, child)


def soft_by_killing(self: Slot, request: Request, child: Child) -> None:
    child.kill()


def hard_never(self: Slot, request: Request, child: Child) -> None:
    pass


def hard_politely(self: Slot, request: Request, child: Child) -> None:
    """Only ask: a run that swallows it goes on."""
    Slot.soft_limit(self, request, child)


def hard_into_all(self: Slot, request: Request, child: Child) -> None:
    for slot in self.pool.slots:
        if slot.running is not None:
            slot.why = TimeLimitExceeded(request.time_limit)
            slot.kill()


def hard_and_the_slot_too(self: Slot, request: Request) -> Outcome:
    outcome = Slot.lost(self, request)
    if isinstance(self.why, TimeLimitExceeded):
        self.claim()
        self.context.report([outcome])
        while not self.pool.stopped:
            time.sleep(0.01)
    return outcome


def one_after_the_other(self: Slot, request: Request, child: Child) -> None:
    """Only the slot with the lowest key is ended; the others wait for an hour."""
    if request.key == 1:
        Slot.hard_limit(self, request, child)


def as_lost(self: Slot, request: Request) -> Outcome:
    child, self.child = self.child, None
    return self.context.failed(request, WorkerLostError(child.end()))


# -- terminations ----------------------------------------------------------------------------------


def silent(self: Slot) -> bool:
    """Say that it is done and do nothing."""
    return True


class TerminatesWhateverRuns(ModelPool):
    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        with self.changed:
            running = [slot for slot in self.slots if slot.running is not None]
            return bool(running) and running[0].terminate()


class TerminatesPolitely(ModelPool):
    def terminate(self, key: int, *, signal: str = "TERM") -> bool:
        for slot in self.slots:
            if slot.running is not None and slot.running.key == key and slot.child is not None:
                slot.child.kill(10)
                return True
        return False


# -- sizes -----------------------------------------------------------------------------------------


class NeverGrows(ModelPool):
    def resize(self, concurrency: int) -> None:
        if not self.slots:
            super().resize(concurrency)
        self.concurrency = concurrency


class ShrinksOnPaper(ModelPool):
    """Its slots take work until they are told to stop."""

    def take(self, slot: Slot) -> Request | None:
        said, self.concurrency = self.concurrency, 100
        try:
            return super().take(slot)
        finally:
            self.concurrency = said


class ForgetsWhatWaitsWhenResized(ModelPool):
    def resize(self, concurrency: int) -> None:
        self.waiting.clear()
        super().resize(concurrency)


class CannotShrinkTwice(ModelPool):
    def resize(self, concurrency: int) -> None:
        if self.slots and concurrency == self.concurrency:
            raise RuntimeError("nothing to resize")
        super().resize(concurrency)


# -- children --------------------------------------------------------------------------------------


def kills_the_others(self: Slot, request: Request) -> Outcome:
    for slot in self.pool.slots:
        if slot is not self and slot.running is not None:
            slot.kill()
    return Slot.lost(self, request)


def loses_the_slot(self: Slot, request: Request) -> Outcome:
    outcome = Slot.lost(self, request)
    self.claim()
    self.context.report([outcome])
    while not self.pool.stopped:
        time.sleep(0.01)
    return outcome


def retires_never(self: Slot, child: Child) -> None:
    pass


KEPT: list[int] = []


def keeps_a_descriptor(self: Slot, child: Child) -> None:
    KEPT.append(os.dup(1))
    Slot.retire(self, child)


class RunsItself(ModelPool):
    """Runs everything in this process."""

    def _submit(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self.context.started(request)
            self.context.report([self.context.execute(request)])


# -- lifetimes -------------------------------------------------------------------------------------


class WorksOnce(ModelPool):
    used = 0

    def _start(self) -> None:
        type(self).used += 1
        if type(self).used % 2 == 0:
            raise RuntimeError("only one a process")
        super()._start()


class LeavesProcessesBehind(ModelPool):
    def _stop(self, timeout: float | None) -> list[Request]:
        if self.stopped:
            return []
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        left = [request for slot in self.slots if (request := slot.claim())]
        return [*left, *self._drain()]


CAPABLE = ModelPool.capabilities


class DeclaresWithoutDoing(ModelPool):
    capabilities = replace(CAPABLE, resizes=False, terminates=False)


DEFECTS: dict[str, list[type[ModelPool]]] = {
    "a_run_below_its_limits_is_left_alone": [altered(soft_time_limit=0.001)],
    "a_run_that_does_not_catch_its_soft_limit_fails_with_it": [
        altered(soft_time_limit=None),
        with_slot(soft_limit=soft_by_killing),
    ],
    "a_run_that_catches_its_soft_limit_goes_on_and_is_told_once": [
        with_slot(soft_limit=soft_by_killing),
        with_slot(wait=SoftTwice.wait),
    ],
    "a_soft_limit_does_not_reach_the_runs_that_follow": [with_slot(soft_limit=soft_into_the_next)],
    "a_soft_limit_does_not_reach_the_run_beside_it": [with_slot(soft_limit=soft_into_all)],
    "soft_limits_that_fire_as_runs_end_harm_nobody": [with_slot(soft_limit=soft_by_killing)],
    "a_run_that_reaches_its_hard_limit_is_ended_and_its_slot_is_free": [
        altered(time_limit=None),
        with_slot(hard_limit=hard_never),
        with_slot(lost=hard_and_the_slot_too),
        with_slot(lost=as_lost),
    ],
    "a_run_that_swallows_everything_is_ended_by_its_hard_limit": [with_slot(hard_limit=hard_politely)],
    "all_slots_may_reach_their_hard_limits_at_once": [with_slot(hard_limit=one_after_the_other)],
    "a_hard_limit_does_not_reach_the_run_beside_it": [with_slot(hard_limit=hard_into_all)],
    "hard_limits_that_fire_as_runs_end_harm_nobody": [with_slot(lost=as_lost), with_slot(lost=loses_the_slot)],
    "a_pool_that_declares_to_terminate_can_and_no_other": [DeclaresWithoutDoing],
    "a_run_that_is_terminated_ends_as_revoked_and_its_slot_is_free": [
        with_slot(terminate=silent),
        with_slot(lost=as_lost),
        with_slot(lost=loses_the_slot),
    ],
    "a_run_that_swallows_everything_is_terminated": [TerminatesPolitely],
    "what_waits_has_ended_or_was_never_there_is_not_terminated": [TerminatesWhateverRuns],
    "a_second_termination_ends_nothing_else": [TerminatesWhateverRuns],
    "terminations_that_come_as_runs_end_harm_nobody": [
        until_terminated(with_slot(lost=as_lost)),
        until_terminated(with_slot(lost=loses_the_slot)),
    ],
    "a_pool_that_declares_to_resize_can_and_no_other": [DeclaresWithoutDoing],
    "a_pool_that_grows_runs_what_waited": [NeverGrows],
    "a_pool_that_shrinks_ends_what_runs_and_then_runs_no_more_than_it_may": [ShrinksOnPaper],
    "a_pool_that_shrinks_starts_nothing_until_enough_has_ended": [ShrinksOnPaper],
    "nothing_is_lost_or_doubled_by_resizing_under_load": [ForgetsWhatWaitsWhenResized],
    "an_idle_pool_may_be_resized_and_stopped": [CannotShrinkTwice],
    "a_run_whose_process_dies_fails_alone_and_says_of_what": [
        with_slot(lost=kills_the_others),
        failing_with(WorkerLostError("gone")),
    ],
    "a_pool_whose_processes_die_time_and_again_keeps_its_slots": [with_slot(lost=loses_the_slot)],
    "a_task_runs_in_no_process_of_the_worker_s_own": [RunsItself],
    "a_process_is_replaced_after_so_many_tasks": [with_slot(retire=retires_never)],
    "a_process_is_replaced_after_the_task_that_made_it_too_large": [with_slot(retire=retires_never)],
    "memory_that_a_task_keeps_makes_its_process_too_large": [with_slot(retire=retires_never)],
    "replacing_many_processes_loses_no_run_and_leaves_no_descriptor": [with_slot(retire=keeps_a_descriptor)],
    "a_second_pool_can_be_started_when_the_first_has_stopped": [WorksOnce],
    "two_pools_work_side_by_side": [WorksOnce],
    "a_pool_that_stops_ends_the_processes_of_what_does_not_end": [LeavesProcessesBehind],
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "a_run_whose_process_dies_fails_alone_and_says_of_what": {"task": "killed", "named": "SIGKILL"},
    "a_process_is_replaced_after_the_task_that_made_it_too_large": {"limit": 1, "most": 1},
}


class FewerChildren(PoolContract):
    recycles = 40
    races = 20


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    """Begin with what makes processes in place; close what was kept open on purpose."""
    Child(PoolContext(execute=print, failed=print, report=print, started=print)).end()
    yield
    while KEPT:
        os.close(KEPT.pop())


@pytest.mark.parametrize(("promise", "broken"), [(name, pool) for name, pools in DEFECTS.items() for pool in pools])
def test_a_broken_pool_fails(promise: str, broken: type[ModelPool]) -> None:
    test = getattr(FewerChildren(), f"test_{promise}")

    with pytest.raises((AssertionError, RuntimeError)):
        test(PoolHarness(make=broken, patience=1.0), **PARAMETERS.get(promise, {}))


def test_every_test_of_these_contracts_is_shown_to_fail_some_pool() -> None:
    contracts = (LimitsContract, EndingsContract, SizesContract, ChildrenContract, LifetimesContract)
    tests = [name for each in contracts for name, _ in inspect.getmembers(each, inspect.isfunction)]

    assert sorted(f"test_{promise}" for promise in DEFECTS) == sorted(name for name in tests if name[:5] == "test_")
