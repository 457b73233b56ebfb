"""A greenlet that computes holds up its whole process, but its worker keeps what it holds, as long as it lives."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from green import GreenWorkers
from running import eventually

from celeriac import Celeriac
from celeriac.kernel import plugins

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

LEASE = 4.0
POOLS = [pool for pool in ("gevent", "eventlet") if pool in plugins.names("pool")]


@pytest.fixture(params=POOLS)
def pool(request):
    return request.param


@pytest.fixture(params=["sqlite", "redis"])
def broker(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'queue.db'}"
    elif "redis" not in plugins.names("transport") or not shutil.which("redis-server"):
        pytest.skip("neither the bundle redis nor redis-server may be missing")
    else:
        from redis_servers import redis_server  # noqa: PLC0415  it needs the bundle redis

        with redis_server() as server:
            yield server.url


@pytest.fixture
def workers(tmp_path, broker):
    with GreenWorkers(tmp_path, broker, lease_seconds=LEASE) as workers:
        yield workers


@pytest.fixture
def client(broker):
    with Celeriac("green", broker=broker, backend=broker, set_as_current=False) as app:
        yield app


def children(pid):
    return [each for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()]


def computing(workers, client, pool, note, seconds):
    """Return a worker that computes, and the result of that task, with another worker beside it."""
    worker = workers.start(pool)
    result = client.send_task("green_app.compute", args=[seconds, str(note)])
    eventually(note.exists, "it computes", 30)
    workers.start("threads")
    return worker, result


def test_a_task_that_computes_for_three_leases_runs_once(workers, client, pool, tmp_path):
    note = tmp_path / "note"
    worker, result = computing(workers, client, pool, note, 3 * LEASE + 1)

    value = result.get(timeout=60)

    assert value == "ended"
    assert note.read_text().split() == ["began"]
    assert "lapsed" not in workers.log(worker)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="asks /proc for the children of the worker")
def test_what_renews_the_lease_of_a_computing_worker_dies_with_it(workers, client, pool, tmp_path):
    note = tmp_path / "note"
    worker, _ = computing(workers, client, pool, note, 30.0)
    (renewing,) = eventually(lambda: children(worker.pid), "the lease is renewed from outside", 30)

    worker.kill()
    worker.wait()

    eventually(lambda: note.read_text().count("began") == 2, "it runs anew", 60)
    eventually(lambda: not os.path.exists(f"/proc/{renewing}"), "it ends", 30)


def test_a_computing_worker_that_stands_still_loses_its_lease_all_the_same(workers, client, pool, tmp_path):
    note = tmp_path / "note"
    worker, result = computing(workers, client, pool, note, 8.0)
    eventually(lambda: "nothing else has run" in workers.log(worker), "it is noticed", 30)

    worker.send_signal(signal.SIGSTOP)

    eventually(lambda: note.read_text().count("began") == 2, "it runs anew", 60)
    worker.send_signal(signal.SIGCONT)
    assert result.get(timeout=60) == "ended"
    eventually(lambda: "refused" in workers.log(worker), "the late verdict is refused", 60)
