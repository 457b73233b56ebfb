"""The virtual clock: it stands still, it wakes who has waited long enough, and it loses no notification."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.testing import VirtualClock

TIMEOUT = 5.0


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=1000.0)


def test_it_stands_still_until_it_is_advanced(clock: VirtualClock) -> None:
    assert (clock.time(), clock.monotonic()) == (1000.0, 0.0)

    clock.advance(2.5)

    assert (clock.time(), clock.monotonic()) == (1002.5, 2.5)


def test_correcting_the_date_moves_no_duration(clock: VirtualClock) -> None:
    clock.correct(-500.0)

    assert (clock.time(), clock.monotonic()) == (500.0, 0.0)


def test_a_sleeper_wakes_when_its_time_has_come_and_not_before(clock: VirtualClock) -> None:
    with ThreadPoolExecutor(1) as threads:
        sleeping = threads.submit(clock.sleep, 10.0)
        assert clock.await_waiters()
        clock.advance(9.0)
        assert clock.await_waiters()
        assert not sleeping.done()

        clock.advance(1.0)

        assert sleeping.result(TIMEOUT) is None


def test_sleeping_for_no_time_does_not_block(clock: VirtualClock) -> None:
    clock.sleep(0.0)


def test_a_wait_ends_with_false_when_its_time_is_over(clock: VirtualClock) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_wait, clock, 5.0)
        assert clock.await_waiters()

        clock.advance(5.0)

        assert waiting.result(TIMEOUT) is False


@pytest.mark.parametrize("timeout", [5.0, None])
def test_a_notified_wait_ends_with_true(clock: VirtualClock, timeout: float | None) -> None:
    condition = threading.Condition()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_wait, clock, timeout, condition)
        assert clock.await_waiters()

        with condition:
            condition.notify_all()

        assert waiting.result(TIMEOUT) is True


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_a_wait_without_time_does_not_block(clock: VirtualClock, timeout: float) -> None:
    assert _wait(clock, timeout) is False


def test_advancing_wakes_every_waiter_whose_time_has_come(clock: VirtualClock) -> None:
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(_until, clock, seconds) for seconds in (1.0, 2.0, 3.0)]
        assert clock.await_waiters(3)
        clock.advance(2.0)
        assert [future.result(TIMEOUT) for future in waiting[:2]] == [1.0, 2.0]
        assert clock.await_waiters(1)
        assert not waiting[2].done()

        clock.advance(1.0)

        assert waiting[2].result(TIMEOUT) == 3.0


def test_awaiting_a_waiter_that_does_not_come_ends(clock: VirtualClock) -> None:
    assert not clock.await_waiters(1, timeout=0.01)


def test_no_advance_is_lost_between_looking_and_waiting(clock: VirtualClock) -> None:
    """A waiter that looked at the clock just before it moved must notice."""
    with ThreadPoolExecutor(2) as threads:
        for round_ in range(50):
            waiting = threads.submit(_until, clock, 1.0)
            advancing = threads.submit(_advance_until, clock, waiting.done)

            assert waiting.result(TIMEOUT) == 1.0, round_
            advancing.result(TIMEOUT)


def _wait(clock: VirtualClock, timeout: float | None, condition: threading.Condition | None = None) -> bool:
    condition = condition or threading.Condition()
    with condition:
        return clock.wait(condition, timeout)


def _until(clock: VirtualClock, seconds: float) -> float:
    clock.sleep(seconds)
    return seconds


def _advance_until(clock: VirtualClock, done: Callable[[], bool]) -> None:
    while not done():
        clock.advance(0.25)
