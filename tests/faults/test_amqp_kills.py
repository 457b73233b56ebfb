"""SIGKILL, at any instant, of workers and of RabbitMQ: nothing accepted is lost, only what was held runs twice."""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import APPS, Fleet, wait_until

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celeriac.errors import StoreError
from celeriac_amqp.testing import Node, running_server

pytestmark = [pytest.mark.fault, pytest.mark.timeout(400)]

TASKS = 10_000
KILLS = 100


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_server() as node:
        yield node


@pytest.fixture(params=["classic", "quorum"])
def queue_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fleet(tmp_path: Any, node: Node, queue_type: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with node.vhost() as url, Fleet(tmp_path, broker=url) as fleet:
        options = {"queue_type": queue_type, "native_delayed_delivery_queue_type": queue_type, "heartbeat": 2.0}
        own = {
            "FAULTS_OPTIONS": json.dumps(options),
            "FAULTS_BACKEND": "disabled://",
            "CELERIAC_BROKER_RECONNECT_MAX_SECONDS": "0.5",
        }
        fleet.environment.update(own)
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        yield fleet


@pytest.fixture
def client(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("FAULTS_HOME", "FAULTS_BROKER", "FAULTS_LEASE"):
        monkeypatch.setenv(name, fleet.environment[name])
    monkeypatch.syspath_prepend(str(APPS))
    sys.modules.pop("faults_app", None)
    module = importlib.import_module("faults_app")
    yield module
    module.app.close()
    sys.modules.pop("faults_app", None)


def waiting(client: Any) -> int | None:
    """Return how many messages are in no worker's hands; None if RabbitMQ cannot be asked."""
    transport = None
    try:
        transport = client.app.connections.transport()
        return sum(depth.waiting for depth in transport.depths(["celery"], timeout=10))
    except StoreError:
        if transport is not None:
            client.app.connections.drop(transport)
        return None


def letters(client: Any) -> list[Any]:
    found: list[Any] = client.app.connections.transport().letters(limit=10, timeout=10)
    return found


def ended(fleet: Fleet) -> set[int]:
    """Return the numbers of the tasks that ended."""
    log = fleet.home / "runs.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return {int(number) for what, number, _ in map(str.split, lines) if what == "end"}


def test_a_storm_of_kills_loses_none_of_ten_thousand_tasks(
    fleet: Fleet, client: Any, queue_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.app.publish_many([client.work.s(number, 0.008) for number in range(TASKS)])
    pools = [("solo",), ("prefork", "-c", "2"), ("solo",)]
    workers = {
        pool: fleet.start(*pool[1:], pool=pool[0]) for pool in [(*each, f"-n{n}@t") for n, each in enumerate(pools)]
    }
    kills, end = 0, time.monotonic() + 300
    begun: dict[int, float] = {}

    while len(ended(fleet)) < TASKS and time.monotonic() < end:
        at_work = fleet.at_work()
        for pool, worker in workers.items():
            # One that has not begun would only show that starting takes time. Tasks of a prefork worker are its
            # children's; it has begun a second after it has come up.
            if worker.pid in at_work or (pool[0] == "prefork" and "ready" in fleet.log(worker)):
                begun.setdefault(worker.pid, time.monotonic())
        ready = [pool for pool, worker in workers.items() if worker.pid in begun]
        if ready and kills < KILLS:
            pool = random.choice(ready)
            fleet.kill(workers[pool])
            workers[pool] = fleet.start(*pool[1:], pool=pool[0])
            kills += 1
        time.sleep(random.uniform(0.2, 0.5))

    assert ended(fleet) == set(range(TASKS)), f"{TASKS - len(ended(fleet))} tasks are lost"
    wait_until(lambda: waiting(client) == 0, 60, "the queue is empty")
    runs = fleet.runs()
    again = {number: pids for number, pids in runs.items() if len(pids) > 1}
    with capsys.disabled():
        most = max(map(len, runs.values()))
        print(
            f" {queue_type}: {kills} kills, {len(again)} of {TASKS} ran again (at most {most} times), 0 lost ", end=""
        )
    assert kills >= 20
    assert len(again) <= kills * 40  # no more than the killed can have held
    assert letters(client) == []


def test_a_task_that_kills_its_worker_each_time_ends_as_a_dead_letter(fleet: Fleet, client: Any) -> None:
    client.crash.delay(-7)
    most = client.app.conf.task_max_deliveries

    for _ in range(most + 2):
        if letters(client):
            break
        before = len(fleet.runs()[-7])
        worker = fleet.start()
        wait_until(lambda: len(fleet.runs()[-7]) > before or letters(client), 30, "the task runs")  # noqa: B023
        if not letters(client):
            worker.wait(30)

    wait_until(lambda: letters(client), 30, "there is a dead letter")
    (letter,) = letters(client)
    assert letter.kind == "dead"
    assert len(fleet.runs()[-7]) == most
    assert letter.deliveries in (most, most + 1)
    wait_until(lambda: waiting(client) == 0, 10, "the queue is empty")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_node_that_goes_and_comes_again_and_again_loses_nothing(
    fleet: Fleet, client: Any, node: Node, queue_type: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = [fleet.start(), fleet.start()]
    client.app.conf.task_publish_retry = False
    client.work.delay(-1, 0.0)
    wait_until(lambda: -1 in ended(fleet), 60, "a worker works")
    time.sleep(1.0)  # RabbitMQ writes down that there is a queue half a second after it has made it
    accepted: set[int] = set()
    heals = []

    for _ in range(5):
        stop = time.monotonic() + 1.0
        while time.monotonic() < stop:
            client.work.delay(len(accepted), 0.001)
            accepted.add(len(accepted))
        if how == "killed":
            node.kill()
        else:
            node.stop()
        node.start()
        back = time.monotonic()
        before = len(fleet.runs())

        def works(before: int = before) -> bool:
            try:
                client.work.delay(len(accepted), 0.001)
            except StoreError:
                return False
            accepted.add(len(accepted))
            return len(fleet.runs()) > before

        wait_until(works, 40, "a worker works again")
        heals.append(time.monotonic() - back)

    wait_until(lambda: accepted <= ended(fleet), 60, "all accepted tasks have run")
    wait_until(lambda: waiting(client) == 0, 30, "the queue is empty")
    runs = fleet.runs()
    again = [number for number in accepted if len(runs[number]) > 1]
    heals.sort()
    with capsys.disabled():
        print(
            f" {queue_type} {how} 5 times: {len(accepted)} accepted, 0 lost, {len(again)} ran again,"
            f" working again after {heals[2]:.1f} s (worst {heals[-1]:.1f} s) ",
            end="",
        )
    assert letters(client) == []
    assert all(worker.poll() is None for worker in workers)
