"""SIGKILL, at any instant: nothing that was accepted is lost, and only what was in flight runs twice."""

from __future__ import annotations

import functools
import sqlite3
import time

import pytest
from fleet import wait_until

from celeriac.errors import WorkerLostError

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

TASKS = 10_000
MOST_KILLS = 100


def integrity(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("pragma integrity_check").fetchone()[0]
    finally:
        connection.close()


def test_a_storm_of_kills_loses_none_of_ten_thousand_tasks(fleet, client, capsys):
    results = client.app.publish_many([client.work.s(number, 0.002) for number in range(TASKS)])
    workers = [fleet.start(), fleet.start()]

    def ended():
        return sum(depth.waiting + depth.delayed + depth.held for depth in depths(client)) == 0

    kills = 0
    end = time.monotonic() + 200
    while not ended() and time.monotonic() < end:
        time.sleep(0.2)
        # One that has not begun would only show that starting takes time: kill those that are at work.
        at_work = fleet.at_work()
        victim = next((worker for worker in workers if worker.pid in at_work), None)
        if victim is not None and kills < MOST_KILLS:
            workers.remove(victim)
            fleet.kill(victim)
            kills += 1
            workers.append(fleet.start())

    wait_until(ended, 60, "the queue is empty")
    values = [result.get(timeout=30) for result in results]
    runs = fleet.runs()
    assert values == list(range(TASKS))
    assert set(runs) == set(range(TASKS))
    assert kills >= 10
    again = {number: pids for number, pids in runs.items() if len(pids) > 1}
    unexplained = {number: pids for number, pids in again.items() if not set(pids[:-1]) <= fleet.killed}
    assert unexplained == {}
    with capsys.disabled():
        print(f" {kills} kills, {len(again)} of {TASKS} tasks ran more than once, 0 lost ", end="")
    assert client_letters(client) == []
    assert integrity(fleet.home / "queue.db") == "ok"


def test_a_task_that_kills_its_worker_is_given_up_after_its_deliveries(fleet, client):
    client.app.conf.task_max_deliveries = 3
    fleet.environment["CELERIAC_TASK_MAX_DELIVERIES"] = "3"
    result = client.crash.delay(1)
    healthy = [client.work.delay(number) for number in range(100, 110)]

    deaths = 0
    worker = fleet.start()
    end = time.monotonic() + 120
    while deaths < 3 and time.monotonic() < end:
        wait_until(functools.partial(ended_itself, worker), 60, "the worker dies of the task")
        deaths += 1
        worker = fleet.start()

    with pytest.raises(WorkerLostError, match="3 times"):
        result.get(timeout=60)
    assert [each.get(timeout=60) for each in healthy] == list(range(100, 110))
    assert [letter.reason for letter in client_letters(client)] == ["delivered 3 times without an end"]
    assert worker.poll() is None


def test_an_at_most_once_task_never_runs_twice(fleet, client):
    client.app.publish_many([client.once.s(number) for number in range(3000)])
    workers = [fleet.start(), fleet.start()]

    for _ in range(8):
        wait_until(functools.partial(progress, fleet, client, len(fleet.runs())), 60, "progress")
        fleet.kill(workers.pop(0))
        workers.append(fleet.start())
    wait_until(lambda: empty(client), 60, "the queue is empty")

    assert max(len(pids) for pids in fleet.runs().values()) == 1


def ended_itself(worker):
    return worker.poll() is not None


def progress(fleet, client, before):
    return len(fleet.runs()) > before or empty(client)


def depths(client):
    return client.app.connections.transport().depths(timeout=10)


def empty(client):
    return sum(depth.waiting + depth.delayed + depth.held for depth in depths(client)) == 0


def client_letters(client):
    return client.app.connections.transport().letters(limit=100, timeout=10)
