"""A worker on Redis when its connection fails: the shortest of what tests/faults does at length."""

from __future__ import annotations

import pytest

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

import redis_faults as faults
from redis_rig import Rig
from redis_servers import DURABLE, redis_server


@pytest.fixture(scope="module")
def server():
    with redis_server(*DURABLE) as server:
        yield server


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (faults.reset, faults.idle),
        (faults.reset, faults.taking),
        (faults.ended, faults.settling),
        (faults.torn, faults.taking),
        (faults.read_only, faults.settling),
        (faults.scripts_flushed, faults.taking),
        (faults.killed, faults.busy),
        (faults.killed, faults.taking),
        (faults.clients_killed, faults.settling),
        (faults.full, faults.settling),
    ],
    ids=lambda each: each.__name__,
)
def test_every_accepted_task_runs_once_and_has_its_result(server, fault, state):
    faults.endure(Rig(server), fault, state)


def test_a_password_that_changes_while_tasks_run_is_asked_for_anew():
    with faults.guarded_server() as server:
        faults.endure(Rig(server), faults.password_changed, faults.settling)


def test_a_worker_starts_although_redis_is_not_there_yet(server):
    with Rig(server) as rig:
        faults.renewed(rig)
        rig.proxy.refuse()
        with rig.working():
            rig.publish(5)
            rig.proxy.heal()

            rig.balance()
