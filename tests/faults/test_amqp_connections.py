"""Everything that goes wrong between a worker and RabbitMQ, while the worker is idle, busy, taking and settling.

The worker lives on, and is the only one, so every task that was accepted runs exactly once. The exception: what a
classic queue gives out again is replaced by a copy that is counted, and a connection that breaks between the two leaves
both. One that breaks after a few hundred bytes, again and again, does that now and then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

import amqp_faults as faults
from amqp_rig import AmqpRig
from running import eventually

from celeriac_amqp.testing import Node, running_server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

FAULTS = [
    faults.reset, faults.ended, faults.silence, faults.swallowed, faults.late, faults.torn, faults.slow,
    faults.closed, faults.stopped, faults.killed, faults.short_of_memory,
]  # fmt: skip
TIMES = 100
STATES = [faults.idle, faults.busy, faults.settling, faults.taking]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_server() as node:
        yield node


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("state", STATES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)
def test_every_accepted_task_runs_once(node: Node, fault: faults.Fault, state: faults.State, queue_type: str) -> None:
    once = not (fault is faults.torn and queue_type == "classic")
    faults.endure(AmqpRig(node, queue_type=queue_type), fault, state, once=once)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_connections_that_rabbitmq_closes_fifty_times_under_load_are_opened_again(
    node: Node, queue_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AmqpRig(node, queue_type=queue_type) as rig:
        with rig.working(once=False), rig.streaming():
            eventually(lambda: len(rig.runs) > 50, "work is under way", 30)
            closed = rig.close_connections(50, pause=0.3)
            before = len(rig.runs)
            eventually(lambda: len(rig.runs) > before + 50, "work goes on", 30)
        again = rig.again()
        with capsys.disabled():
            print(f" {queue_type}: {closed} closed, {len(rig.accepted)} accepted, {rig.refused} refused,", end="")
            print(f" 0 lost, {len(again)} ran again ", end="")
        assert closed >= 100
        assert len(again) <= len(rig.accepted) // 50


def test_the_worker_works_again_soon_each_of_many_times(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    took = []
    with AmqpRig(node) as rig, rig.working():
        for number in range(TIMES):
            rig.proxy.refuse()
            rig.proxy.drop(reset=number % 2 == 0)
            time.sleep(random.uniform(0.0, 0.4))
            rig.publish(3)
            rig.proxy.heal()
            healed = time.monotonic()
            eventually(lambda: len(rig.runs) == len(rig.accepted), "the tasks run", 20)
            took.append(rig.last_run - healed)
    took.sort()
    with capsys.disabled():
        print(f" {TIMES} times healed, working again after: median {took[TIMES // 2] * 1000:.0f} ms,", end="")
        print(f" worst {took[-1] * 1000:.0f} ms ", end="")
    assert took[-1] <= 2.0
