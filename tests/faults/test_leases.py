"""Leases under real time: a living worker keeps its work, a stopped one loses it, and its late verdict is refused."""

from __future__ import annotations

import signal

import pytest
from fleet import wait_until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]


def test_a_task_ten_times_longer_than_the_lease_runs_once(client, fleet):
    fleet.start()
    fleet.start()

    result = client.sleep.delay(1, 10.0)

    result.get(timeout=60)
    assert {number: len(pids) for number, pids in fleet.runs().items()} == {1: 1}


def test_the_work_of_a_stopped_worker_is_taken_over_and_its_late_verdict_refused(client, fleet):
    first = fleet.start()
    result = client.sleep.delay(1, 2.0)
    wait_until(lambda: 1 in fleet.runs(), 30, "the task begins")

    first.send_signal(signal.SIGSTOP)
    second = fleet.start()
    value = result.get(timeout=60)
    first.send_signal(signal.SIGCONT)

    assert value == second.pid
    wait_until(lambda: "refused" in fleet.log(first), 30, "the late verdict is refused")
    assert fleet.runs()[1] == [first.pid, second.pid]
    assert result.get(timeout=5) == second.pid
    assert first.poll() is None


def test_a_worker_that_was_stopped_works_again(client, fleet):
    first = fleet.start()
    client.work.delay(1).get(timeout=30)

    first.send_signal(signal.SIGSTOP)
    waiting = client.work.delay(2)
    # Three leases of a second: nobody else is there, so what matters is only that it comes back.
    with pytest.raises(TimeoutError):
        waiting.get(timeout=3)
    first.send_signal(signal.SIGCONT)

    assert waiting.get(timeout=30) == 2
