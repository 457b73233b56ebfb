"""SIGKILL, at any instant, of workers and of Redis itself: nothing accepted is lost, only what was held runs twice."""

from __future__ import annotations

import time

import pytest
from fleet import Fleet, wait_until

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

from redis_servers import DURABLE, redis_server

from celeriac.errors import StoreError

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]

TASKS = 10_000
KILLS = 100
WORKERS = 3


@pytest.fixture
def server():
    with redis_server(*DURABLE) as server:
        yield server


@pytest.fixture
def fleet(tmp_path, server):
    with Fleet(tmp_path, broker=server.url) as fleet:
        yield fleet


def left(client):
    transport = client.app.connections.transport()
    try:
        return sum(depth.waiting + depth.delayed + depth.held for depth in transport.depths(timeout=10))
    except StoreError:
        client.app.connections.drop(transport)
        return None


def letters(client):
    return client.app.connections.transport().letters(limit=10, timeout=10)


def test_a_storm_of_kills_loses_none_of_ten_thousand_tasks(fleet, client, capsys):
    results = client.app.publish_many([client.work.s(number, 0.008) for number in range(TASKS)])
    workers = [fleet.start() for _ in range(WORKERS)]

    kills = 0
    end = time.monotonic() + 300
    while left(client) != 0 and time.monotonic() < end:
        # One that has not begun would only show that starting takes time: kill those that are at work.
        at_work = fleet.at_work()
        victim = next((worker for worker in workers if worker.pid in at_work), None)
        if victim is not None and kills < KILLS:
            workers.remove(victim)
            fleet.kill(victim)
            kills += 1
            workers.append(fleet.start())
        time.sleep(0.1)

    wait_until(lambda: left(client) == 0, 60, "the queue is empty")
    values = [result.get(timeout=30) for result in results]
    runs = fleet.runs()
    again = {number: pids for number, pids in runs.items() if len(pids) > 1}
    with capsys.disabled():
        print(f" {kills} kills, {len(again)} of {TASKS} tasks ran more than once, {TASKS - len(runs)} lost ", end="")
    assert values == list(range(TASKS))
    assert set(runs) == set(range(TASKS))
    assert kills >= KILLS // 2
    assert {number: pids for number, pids in again.items() if not set(pids[:-1]) <= fleet.killed} == {}
    assert letters(client) == []


@pytest.fixture
def patient(tmp_path, server):
    """A fleet whose leases outlast what happens to Redis, and whose workers come back soon."""
    with Fleet(tmp_path, broker=server.url, lease_seconds=30.0) as fleet:
        fleet.environment["CELERIAC_BROKER_RECONNECT_MAX_SECONDS"] = "0.5"
        yield fleet


def test_redis_killed_and_started_again_and_again_loses_and_repeats_nothing(patient, client, server, capsys):
    fleet = patient
    workers = [fleet.start(), fleet.start()]
    assert client.work.delay(-1).get(timeout=60) == -1
    client.app.conf.task_publish_retry = False
    accepted = {}

    for _ in range(10):
        stop = time.monotonic() + 0.5
        while time.monotonic() < stop:
            number = len(accepted)
            accepted[number] = client.work.delay(number, 0.001)
        server.kill()
        server.start()
        wait_until(lambda: left(client) is not None, 20, "the client is connected")
    values = {number: result.get(timeout=60) for number, result in accepted.items()}

    wait_until(lambda: left(client) == 0, 60, "the queue is empty")
    runs = fleet.runs()
    again = [number for number in accepted if len(runs[number]) > 1]
    with capsys.disabled():
        print(f" Redis killed 10 times, {len(accepted)} accepted, {len(again)} ran more than once ", end="")
    assert values == {number: number for number in accepted}
    assert set(accepted) <= set(runs)
    assert again == []
    assert letters(client) == []
    assert all(worker.poll() is None for worker in workers)
