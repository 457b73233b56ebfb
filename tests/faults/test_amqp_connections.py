"""Everything that goes wrong between a worker and RabbitMQ, while the worker is idle, busy, taking and settling.

The worker lives on, and is the only one, so every task that was accepted runs exactly once. The exception: what a
classic queue gives out again is replaced by a copy that is counted, and a connection that breaks between the two leaves
both. One that breaks after a few hundred bytes, again and again, does that now and then.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

import amqp_faults as faults
from amqp_rig import AmqpRig

from celeriac_amqp.testing import Node, running_server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

FAULTS = [
    faults.reset, faults.ended, faults.silence, faults.swallowed, faults.late, faults.torn, faults.slow,
    faults.closed, faults.stopped, faults.killed, faults.short_of_memory,
]  # fmt: skip
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
