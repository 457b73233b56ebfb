"""A Redis that is far away: what counts is how few round trips a task costs."""

from __future__ import annotations

import time

import pytest
from fleet import Fleet, wait_until

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

from proxy import Proxy
from redis_servers import redis_server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

TASKS = 60_000
ROUND_TRIP = 0.002
NEEDED = 10_000


@pytest.fixture
def server():
    with redis_server() as server:
        yield server


@pytest.fixture
def proxy(server):
    with Proxy(server.port) as proxy:
        proxy.latency = ROUND_TRIP / 2
        yield proxy


@pytest.fixture
def fleet(tmp_path, server):
    with Fleet(tmp_path, broker=server.url, lease_seconds=30.0) as fleet:
        yield fleet


def measured_round_trip(proxy):
    """Return the round trip as a client has it: the timers of the proxy are coarser than its latency."""
    server = redis_servers.RedisServer(folder=None, port=proxy.port)
    with server.client() as client:
        client.ping()
        begin = time.monotonic()
        for _ in range(100):
            client.ping()
        return (time.monotonic() - begin) / 100


def test_a_worker_two_milliseconds_away_drains_more_than_ten_thousand_tasks_a_second(fleet, client, proxy, capsys):
    trip = measured_round_trip(proxy)
    client.nothing.delay(0)
    results = client.app.publish_many([client.nothing.s(number) for number in range(TASKS)])
    transport = client.app.connections.transport()
    fleet.environment["FAULTS_BROKER"] = f"redis://127.0.0.1:{proxy.port}/0"

    def left():
        (depth,) = transport.depths(["celery"], timeout=10)
        return depth.waiting + depth.held

    fleet.start()
    wait_until(lambda: left() < TASKS, 60, "the worker begins")
    begin, first = time.monotonic(), left()
    wait_until(lambda: left() == 0, 120, "the queue is empty")
    rate = first / (time.monotonic() - begin)

    with capsys.disabled():
        print(f" {rate:,.0f} tasks/s with results, {trip * 1000:.1f} ms away ", end="")
    assert results[-1].get(timeout=10) == TASKS - 1
    assert trip >= ROUND_TRIP
    assert rate > NEEDED
