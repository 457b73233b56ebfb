"""Each test of the contract of coroutines fails a pool of asyncio that is broken in just that way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any

import msgspec
import pytest

from celeriac.model.outcome import Outcome
from celeriac.model.record import FAILURE
from celeriac.model.request import Request
from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_coroutines import CoroutinesContract
from celeriac.testing.harness import PoolHarness
from celeriac_asyncio.pool import AsyncioPool


class WithContext(AsyncioPool):
    """A pool that was given another context than it should have."""

    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, msgspec.structs.replace(context, **self.changed(context)))

    def changed(self, context: PoolContext) -> dict[str, Any]:
        raise NotImplementedError


class HasFewerSlotsThanItSays(AsyncioPool):
    def _submit(self, requests: Sequence[Request]) -> None:
        super()._submit(requests[:10])


class RunsMoreThanItSays(AsyncioPool):
    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency + 1, context)


class Reorders(AsyncioPool):
    def _submit(self, requests: Sequence[Request]) -> None:
        super()._submit(requests[::-1])


class SharesContextVariables(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        shared = copy_context()

        async def aexecute(request: Request) -> Outcome:
            return await asyncio.get_running_loop().create_task(context.aexecute(request), context=shared)

        return {"aexecute": aexecute}


class LosesFailedRuns(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        return {"report": lambda outcomes: context.report([o for o in outcomes if o.state != FAILURE])}


class RunsEverythingOnItsLoop(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        async def aexecute(request: Request) -> Outcome:
            return await context.aexecute(request) if context.is_async(request) else context.execute(request)

        return {"is_async": lambda _: True, "aexecute": aexecute}


class ReportsInBatchesOfSixty(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        gathered: list[Outcome] = []

        def report(outcomes: Sequence[Outcome]) -> None:
            gathered.extend(outcomes)
            if len(gathered) >= 60:
                context.report([gathered.pop(0) for _ in range(60)])

        return {"report": report}


class ReportsWhatItGivesBack(WithContext):
    def changed(self, context: PoolContext) -> dict[str, Any]:
        async def aexecute(request: Request) -> Outcome:
            try:
                return await context.aexecute(request)
            except asyncio.CancelledError:
                context.report([context.failed(request, RuntimeError("cancelled"))])
                raise

        return {"aexecute": aexecute}


DEFECTS: dict[str, list[type[AsyncioPool]]] = {
    "as_many_coroutines_run_at_once_as_there_are_slots": [HasFewerSlotsThanItSays, RunsMoreThanItSays],
    "coroutines_run_in_the_order_of_submission": [Reorders],
    "no_coroutine_sees_a_context_variable_of_another": [SharesContextVariables],
    "a_coroutine_that_raises_ends_its_own_run_and_costs_no_slot": [LosesFailedRuns],
    "what_blocks_holds_up_no_coroutine": [RunsEverythingOnItsLoop],
    "what_is_finished_on_the_loop_is_reported_while_others_wait": [ReportsInBatchesOfSixty],
    "stop_gives_back_the_coroutines_that_do_not_end": [ReportsWhatItGivesBack],
}


@pytest.mark.parametrize(("promise", "broken"), [(name, pool) for name, pools in DEFECTS.items() for pool in pools])
def test_a_broken_pool_fails(promise: str, broken: type[AsyncioPool]) -> None:
    test = getattr(CoroutinesContract(), f"test_{promise}")

    with pytest.raises(AssertionError):
        test(PoolHarness(make=broken, patience=1.0))


def test_every_test_of_this_contract_is_shown_to_fail_some_pool() -> None:
    tests = [name for name, _ in inspect.getmembers(CoroutinesContract, inspect.isfunction) if name[:5] == "test_"]

    assert sorted(f"test_{promise}" for promise in DEFECTS) == sorted(tests)
