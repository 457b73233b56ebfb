"""Results over a real RabbitMQ, with workers, and what becomes of them when connections and processes end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

pytest.importorskip("celeriac_amqp.results")

from celeriac import Celeriac, chain, group
from celeriac.client.identity import process_id
from celeriac.testing.app import fresh_url
from celeriac.testing.worker import start_worker
from celeriac_amqp.testing import running_server, server

pytestmark = pytest.mark.timeout(120)

PATIENCE = 60

CLIENT = """
import os, sys, time
from celeriac import Celeriac
from celeriac.client.identity import process_id

app = Celeriac("client", broker="memory://", backend=sys.argv[1], set_as_current=False)
app.conf.update(result_backend_transport_options={"reply_queue_expires_seconds": 1.0})
app.send_task("t")
print(process_id(), flush=True)
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        app.send_task("t")
        print(process_id(), flush=True)
        sys.stdin.readline()
        app.close()
        os._exit(0)
sys.stdin.readline()
"""


class Place:
    """A virtual host of its own, and the queues and connections in it."""

    def __init__(self, url: str) -> None:
        self.url = url.replace("amqp://", "rpc://")
        self.name = urlsplit(url).path[1:]

    def queues(self) -> set[str]:
        return {queue["name"] for queue in server().call("GET", f"queues/{self.name}")}

    def connections(self) -> list[str]:
        found = server().call("GET", f"vhosts/{self.name}/connections")
        return [connection["name"] for connection in found]

    def close_connections(self) -> int:
        names = until(self.connections)  # the server lists them a while after they are made
        for name in names:
            with suppress(urllib.error.HTTPError):  # it is gone meanwhile
                server().call("DELETE", f"connections/{quote(name, safe='')}")
        return len(names)


def until(ask: Callable[[], Any]) -> Any:
    """Ask until the answer is true; return it."""
    end = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)
    return answer


@pytest.fixture
def place():
    with server().vhost() as url:
        yield Place(url)


@pytest.fixture
def app(place):
    with fresh_url() as broker, Celeriac("rpc", broker=broker, backend=place.url, set_as_current=False) as app:
        yield app


@pytest.fixture
def add(app):
    @app.task
    def add(x, y):
        return x + y

    return add


def test_a_thousand_results_come_over_one_queue(app, add, place):
    with start_worker(app):
        results = app.publish_many(add.s(number, 1) for number in range(1000))

        values = [result.get(PATIENCE) for result in results]
        assert place.queues() == {process_id()}

    assert values == list(range(1, 1001))


def test_results_of_many_threads_come_over_one_queue(app, add, place):
    seen = []

    def call(base):
        seen.extend(add.delay(base, number).get(PATIENCE) - number == base for number in range(50))

    with start_worker(app):
        threads = [threading.Thread(target=call, args=(base,)) for base in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert place.queues() == {process_id()}

    assert seen == [True] * 400


def test_coroutines_await_results(app, add):
    async def main():
        results = [await add.adelay(number, 1) for number in range(100)]
        return await asyncio.gather(*results)

    with start_worker(app):
        assert asyncio.run(main()) == list(range(1, 101))


def test_chains_groups_failures_and_states_come_back(app, add):
    @app.task(bind=True)
    def steps(self):
        self.update_state(state="HALF", meta={"done": 1})
        half.set()
        go.wait(PATIENCE)
        raise KeyError("k")

    half, go = threading.Event(), threading.Event()
    with start_worker(app):
        result = steps.delay()
        half.wait(PATIENCE)
        assert until(lambda: result.state == "HALF")
        assert result.info == {"done": 1}
        go.set()
        with pytest.raises(KeyError):
            result.get(PATIENCE)
        last = chain(add.s(1, 1), add.s(2)).apply_async()
        assert (last.get(PATIENCE), last.parent.get(PATIENCE)) == (4, 2)
        assert group(add.s(1, n) for n in range(10)).apply_async().get(PATIENCE) == list(range(1, 11))


@pytest.mark.parametrize("persistent", [False, True])
def test_results_that_come_while_the_connection_is_cut_arrive(app, add, place, persistent):
    app.conf.update(result_backend_transport_options={"result_persistent": persistent})

    @app.task
    def slow():
        started.set()
        go.wait(PATIENCE)
        return "done"

    started, go = threading.Event(), threading.Event()
    with start_worker(app):
        result = slow.delay()
        found = []
        waiting = threading.Thread(target=lambda: found.append(result.get(PATIENCE)))
        waiting.start()
        started.wait(PATIENCE)

        assert place.close_connections() >= 1
        go.set()
        waiting.join(PATIENCE)

        assert found == ["done"]
        assert place.queues() == {process_id()}
        assert add.delay(1, 2).get(PATIENCE) == 3


def test_a_result_that_has_come_and_was_not_read_outlives_the_connection(app, add, place):
    with start_worker(app):
        results = app.publish_many(add.s(number, 1) for number in range(50))
        until(lambda: not app.connections.transport().depths(["celery"], timeout=5)[0].waiting)
        place.close_connections()

        assert [result.get(PATIENCE) for result in results] == list(range(1, 51))


def test_closing_the_app_deletes_its_queue_and_using_it_again_makes_one(app, add, place):
    with start_worker(app):
        assert add.delay(1, 2).get(PATIENCE) == 3
        app.close()
        until(lambda: place.queues() == set())

        assert add.delay(1, 2).get(PATIENCE) == 3


@pytest.fixture
def client(place):
    """Give a function that starts a process which asks for results and ends when it is written to."""
    with ExitStack() as stack:

        def start(how: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", CLIENT, place.url, how]
            pipe = subprocess.PIPE
            return stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))

        yield start


def test_the_queue_of_a_client_that_ends_is_deleted_and_that_of_one_that_is_killed_expires(client, place):
    killed, ended = client("once"), client("once")
    names = {each.stdout.readline().strip() for each in (killed, ended)}
    assert place.queues() == names

    killed.send_signal(signal.SIGKILL)
    killed.wait(PATIENCE)
    ended.communicate("\n", timeout=PATIENCE)
    left = place.queues()
    until(lambda: place.queues() == set())

    assert ended.returncode == 0
    assert len(left) <= 1  # that of the killed one, until it expires


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_child_of_a_fork_has_a_queue_of_its_own(client, place):
    forking = client("fork")
    names = {forking.stdout.readline().strip() for _ in range(2)}

    assert len(names) == 2
    assert place.queues() == names
    forking.communicate("\n\n", timeout=PATIENCE)
    until(lambda: place.queues() == set())


def test_who_asks_for_no_result_makes_no_queue(app, add, place):
    with start_worker(app):
        add.apply_async((1, 2), ignore_result=True)
        add.apply_async((1, 2), reply_to="nobody")
        until(lambda: not app.connections.transport().depths(["celery"], timeout=5)[0].waiting)

        assert place.queues() == set()


def test_a_wait_outlives_a_restart_of_the_server():
    with (
        running_server() as node,
        fresh_url() as broker,
        Celeriac("rpc", broker=broker, backend=node.url.replace("amqp://", "rpc://"), set_as_current=False) as app,
    ):

        @app.task
        def slow():
            started.set()
            go.wait(PATIENCE)
            return "done"

        started, go, found = threading.Event(), threading.Event(), []
        with start_worker(app):
            result = slow.delay()
            waiting = threading.Thread(target=lambda: found.append(result.get(PATIENCE)))
            waiting.start()
            started.wait(PATIENCE)

            node.kill()
            node.start()
            go.set()
            waiting.join(PATIENCE)

        assert found == ["done"]
