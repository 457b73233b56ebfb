"""The machine's clocks."""

from __future__ import annotations

import threading
import time

from celeriac.kernel.clock import SYSTEM_CLOCK


def test_the_moment_and_durations_are_those_of_the_machine() -> None:
    before, monotonic_before = time.time(), time.monotonic()

    assert SYSTEM_CLOCK.time() - before < 60.0
    assert 0.0 <= SYSTEM_CLOCK.monotonic() - monotonic_before < 60.0


def test_sleeping_takes_at_least_that_long() -> None:
    before = time.monotonic()

    SYSTEM_CLOCK.sleep(0.01)

    assert time.monotonic() - before >= 0.01


def test_waiting_ends_at_the_notification_or_at_the_timeout() -> None:
    condition = threading.Condition()

    def notify() -> None:
        with condition:
            condition.notify()

    thread = threading.Thread(target=notify)
    with condition:
        thread.start()
        notified = SYSTEM_CLOCK.wait(condition, 10.0)
    thread.join(10)
    with condition:
        timed_out = not SYSTEM_CLOCK.wait(condition, 0.001)

    assert notified
    assert timed_out
