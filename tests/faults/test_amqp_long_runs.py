"""Tasks that run far longer than RabbitMQ lets a delivery stay unacknowledged: once, whatever runs beside them."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import APPS, Fleet, wait_until

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

from celeriac.errors import TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.spi.service import Context
from celeriac_amqp.testing import Node, running_server
from celeriac_amqp.transport import AmqpTransport

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

TIMEOUT = 3.0
LONG = 4.5 * TIMEOUT
Begin = Callable[..., tuple[Fleet, Any]]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    advanced = "[{rabbit, [{channel_tick_interval, 500}]}]."
    with running_server(consumer_timeout=round(TIMEOUT * 1000), advanced=advanced) as node:
        yield node


@pytest.fixture(params=["classic", "quorum"])
def begin(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Begin]:
    """Give workers in a fresh virtual host, and their app as a client's."""
    apps: list[Any] = []
    with node.vhost() as url, Fleet(tmp_path, broker=url) as fleet:

        def begin(**options: Any) -> tuple[Fleet, Any]:
            kind = {"queue_type": request.param, "native_delayed_delivery_queue_type": request.param}
            fleet.environment["FAULTS_OPTIONS"] = json.dumps({**kind, **options})
            for name in ("FAULTS_HOME", "FAULTS_BROKER", "FAULTS_OPTIONS"):
                monkeypatch.setenv(name, fleet.environment[name])
            monkeypatch.syspath_prepend(str(APPS))
            sys.modules.pop("amqp_app", None)
            client = importlib.import_module("amqp_app")
            apps.append(client.app)
            return fleet, client

        yield begin
        for app in apps:
            app.close()
        sys.modules.pop("amqp_app", None)


def start(fleet: Fleet, *arguments: str, pool: str = "solo") -> Any:
    return fleet.start(*arguments, pool=pool, app="amqp_app")


def runs(fleet: Fleet, number: int) -> list[int]:
    return fleet.runs().get(number, [])


def ready(node: Node, url: str) -> int:
    listed = node.ctl("list_queues", "-q", "-p", url.rsplit("/", 1)[1], "name", "messages")
    return sum(int(line.split("\t")[1]) for line in listed.splitlines()[1:])


def test_a_long_task_runs_once_while_another_worker_is_idle_and_others_go_on(node: Node, begin: Begin) -> None:
    fleet, client = begin(hold_seconds=1.0)
    start(fleet)
    start(fleet)
    long = client.sleep.delay(1, LONG)
    wait_until(lambda: runs(fleet, 1), 30, "the long task begins")

    number = 100
    while not long.ready():
        number += 1
        assert client.sleep.delay(number, 0.0).get(timeout=10) == number

    assert long.get(timeout=10) == 1
    assert len(runs(fleet, 1)) == 1
    assert number > 110
    assert "closes channels" not in fleet.logs()
    wait_until(lambda: ready(node, fleet.environment["FAULTS_BROKER"]) == 0, 20, "nothing is left")


def test_a_long_task_takes_no_place_of_others_in_its_worker(begin: Begin) -> None:
    fleet, client = begin(hold_seconds=1.0)
    start(fleet, "-c", "2", pool="threads")
    longs = [client.sleep.delay(1, LONG)]
    wait_until(lambda: runs(fleet, 1), 30, "the long task begins")

    others = [client.sleep.delay(number, 0.2) for number in range(10, 40)]

    assert [each.get(timeout=LONG) for each in others] == list(range(10, 40))
    assert not longs[0].ready()
    assert longs[0].get(timeout=2 * LONG) == 1
    assert len(runs(fleet, 1)) == 1


def test_the_task_of_a_killed_worker_runs_elsewhere_at_once(begin: Begin) -> None:
    fleet, client = begin(hold_seconds=1.0)
    first = start(fleet)
    long = client.sleep.delay(1, LONG)
    wait_until(lambda: runs(fleet, 1), 30, "the long task begins")
    second = start(fleet)
    time.sleep(2 * TIMEOUT)  # it is held away by now, and longer than a delivery may be

    fleet.kill(first)

    wait_until(lambda: second.pid in runs(fleet, 1), 15, "the other worker begins it")
    assert long.get(timeout=2 * LONG) == 1
    assert runs(fleet, 1) == [first.pid, second.pid]


def test_a_stopped_worker_loses_its_hold_and_what_it_says_later_is_refused(node: Node, begin: Begin) -> None:
    fleet, client = begin(hold_seconds=1.0, heartbeat=2.0)
    first = start(fleet)
    long = client.sleep.delay(1, LONG)
    wait_until(lambda: runs(fleet, 1), 30, "the long task begins")
    second = start(fleet)
    time.sleep(TIMEOUT)

    first.send_signal(signal.SIGSTOP)
    wait_until(lambda: second.pid in runs(fleet, 1), 30, "the other worker begins it")
    time.sleep(LONG - 2 * TIMEOUT)
    first.send_signal(signal.SIGCONT)

    assert long.get(timeout=2 * LONG) == 1
    assert runs(fleet, 1) == [first.pid, second.pid]
    after = [client.sleep.delay(number, 0.0) for number in range(10, 30)]
    assert [each.get(timeout=20) for each in after] == list(range(10, 30))
    wait_until(lambda: "refused" in fleet.log(first), 20, "the verdict is refused")
    wait_until(lambda: ready(node, fleet.environment["FAULTS_BROKER"]) == 0, 30, "nothing is left")
    assert runs(fleet, 1) == [first.pid, second.pid]


def test_a_worker_learns_a_short_time_out_and_repeats_no_run_for_it(node: Node, begin: Begin) -> None:
    fleet, client = begin()
    worker = start(fleet)
    long = client.sleep.delay(1, LONG)

    assert long.get(timeout=30 + LONG) == 1
    again = client.sleep.delay(2, LONG)
    assert again.get(timeout=30 + LONG) == 2

    assert (runs(fleet, 1), runs(fleet, 2)) == ([worker.pid], [worker.pid])
    assert fleet.log(worker).count("closes channels on which a message is held for longer than 3 s") == 1
    wait_until(lambda: ready(node, fleet.environment["FAULTS_BROKER"]) == 0, 20, "nothing is left")


def opened(url: str, queue_type: str) -> AmqpTransport:
    options = {"queue_type": queue_type, "native_delayed_delivery_queue_type": queue_type, "hold_seconds": 0.5}
    end = time.monotonic() + 30
    while True:
        transport = AmqpTransport(Address.parse(url), Context(options=options))
        try:
            transport.open(timeout=10)
        except TransportLost:
            transport.close()
            if time.monotonic() > end:
                raise
        else:
            return transport


def take(transport: AmqpTransport, count: int) -> list[tuple[bytes, int]]:
    taken: list[tuple[bytes, int]] = []
    end = time.monotonic() + 30
    while len(taken) < count and time.monotonic() < end:
        found = transport.receive(["q"], limit=count - len(taken), timeout=1.0)
        taken += [(delivery.message.body, delivery.deliveries) for delivery in found]
    return taken


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_what_is_held_away_outlives_a_server_that_is_killed(node: Node, queue_type: str) -> None:
    with node.vhost() as url:
        transport = opened(url, queue_type)
        transport.publish([Message(body=text, routing_key="q") for text in (b"a", b"b", b"c")], timeout=10)
        assert len(take(transport, 3)) == 3
        wait_until(lambda: transport._hold.moved() == 3, 10, "they are moved")
        time.sleep(1.0)  # RabbitMQ writes down what queues there are half a second later

        node.kill()
        node.start()
        transport.close()

        again = opened(url, queue_type)
        assert sorted(take(again, 3)) == [(b"a", 2), (b"b", 2), (b"c", 2)]
        again.close()
