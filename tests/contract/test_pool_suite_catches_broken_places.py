"""Each test of where runs are fails a pool that is broken in just that way."""

from __future__ import annotations

import inspect

import pytest
from model_pool import Child, ModelPool

from celeriac.spi.pool import PoolContext
from celeriac.testing.contracts.pool_places import PlacesContract
from celeriac.testing.harness import PoolHarness


class KnowsNothing(ModelPool):
    def place(self, key: int) -> int | None:
        return None


class KnowsItselfOnly(ModelPool):
    def place(self, key: int) -> int | None:
        return 1


class KnowsWhatWaits(ModelPool):
    def place(self, key: int) -> int | None:
        return super().place(key) or (1 if any(request.key == key for request in self.waiting) else None)


class SwapsPlaces(ModelPool):
    def place(self, key: int) -> int | None:
        return super().place(key ^ 1)


class NeverForgets(ModelPool):
    def __init__(self, concurrency: int, context: PoolContext) -> None:
        super().__init__(concurrency, context)
        self.known: dict[int, int | None] = {}

    def place(self, key: int) -> int | None:
        found = super().place(key)
        return self.known.setdefault(key, found) if found else self.known.get(key)


DEFECTS: dict[str, list[type[ModelPool]]] = {
    "each_run_has_a_place_of_its_own_and_what_waits_has_none": [
        KnowsNothing, KnowsItselfOnly, KnowsWhatWaits, SwapsPlaces,
    ],
    "what_was_reported_has_no_place": [NeverForgets, KnowsItselfOnly],
    "the_place_is_known_when_the_start_is_told": [KnowsNothing, KnowsItselfOnly, SwapsPlaces],
    "the_place_of_a_run_that_is_lost_is_known_when_its_start_is_told": [KnowsNothing, KnowsItselfOnly],
    "a_pool_that_is_not_at_work_has_no_place_for_anything": [NeverForgets, KnowsItselfOnly],
}  # fmt: skip


@pytest.fixture(autouse=True)
def before() -> None:
    """Begin with what makes processes in place."""
    Child(PoolContext(execute=print, failed=print, report=print, started=print)).end()


@pytest.mark.parametrize(("promise", "broken"), [(name, pool) for name, pools in DEFECTS.items() for pool in pools])
def test_a_broken_pool_fails(promise: str, broken: type[ModelPool]) -> None:
    test = getattr(PlacesContract(), f"test_{promise}")

    with pytest.raises((AssertionError, RuntimeError)):
        test(PoolHarness(make=broken, patience=5.0))


def test_every_test_of_this_contract_is_shown_to_fail_some_pool() -> None:
    tests = [name for name, _ in inspect.getmembers(PlacesContract, inspect.isfunction) if name[:5] == "test_"]

    assert sorted(f"test_{promise}" for promise in DEFECTS) == sorted(tests)
