"""Everything that goes wrong between a worker and Redis, while the worker is idle, busy, taking and settling.

No lease lapses here, so every task that was accepted runs exactly once, and its result is there.
"""

from __future__ import annotations

import pytest

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

import redis_faults as faults
from redis_rig import Rig
from redis_servers import DURABLE, redis_server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

FAULTS = [
    faults.reset, faults.ended, faults.silence, faults.swallowed, faults.late, faults.torn, faults.read_only,
    faults.scripts_flushed, faults.killed, faults.paused, faults.clients_killed, faults.password_changed, faults.full,
]  # fmt: skip
STATES = [faults.idle, faults.busy, faults.settling, faults.taking]


@pytest.fixture(scope="module")
def plain():
    with redis_server(*DURABLE) as server:
        yield server


@pytest.fixture(scope="module")
def guarded():
    with faults.guarded_server() as server:
        yield server


@pytest.mark.parametrize("state", STATES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)
def test_every_accepted_task_runs_once_and_has_its_result(request, fault, state):
    server = request.getfixturevalue("guarded" if fault is faults.password_changed else "plain")

    faults.endure(Rig(server), fault, state)
