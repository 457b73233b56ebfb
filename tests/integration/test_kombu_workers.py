"""Workers on kombu's transports over files and in PostgreSQL, from the call to the result, and what a kill leaves."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

pytest.importorskip("celeriac_kombu.transport")
pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import kombu_places
from running import eventually, running

from celeriac import Celeriac, chain
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.spi.service import Context
from celeriac_kombu.testing import folder_options
from celeriac_kombu.transport import KombuTransport

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated"),
]

SECONDS = 30
_names = itertools.count(1)

HOLDS_ONE = """
import json, sys, threading
from celeriac.model.address import Address
from celeriac.spi.service import Context
from celeriac_kombu.transport import KombuTransport
transport = KombuTransport(Address.parse(sys.argv[1]), Context(options=json.loads(sys.argv[2])))
transport.open(timeout=20)
taken = transport.receive(["q"], limit=1, timeout=20)
print(taken[0].message.body.decode(), flush=True)
threading.Event().wait()
"""


class Place:
    """A broker: its URL, its options, and what it promises of what a killed worker held."""

    def __init__(self, url: str, options: dict[str, Any], *, keeps: bool) -> None:
        self.url, self.options, self.keeps = url, options, keeps

    def transport(self) -> KombuTransport:
        return KombuTransport(Address.parse(self.url), Context(options=self.options))


@pytest.fixture
def app(place: Place, tmp_path: Path) -> Iterator[Celeriac]:
    results = tmp_path / "results"
    results.mkdir()
    app = Celeriac(
        f"kombu{next(_names)}",
        set_as_current=False,
        broker_url=place.url,
        broker_transport_options=place.options,
        result_backend=f"file://{results}",
    )

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="again", shared=False, bind=True)
    def again(self: Any, wanted: int) -> int:
        if self.request.retries < wanted:
            raise self.retry(countdown=0, max_retries=9)
        return int(self.request.retries)

    @app.task(name="later", shared=False, bind=True)
    def later(self: Any, x: int, y: int) -> None:
        raise self.retry(countdown=60)

    yield app
    app.close()


class Workers:
    """What holds on either."""

    def test_tasks_chains_and_retries_run(self, app: Celeriac) -> None:
        with running(app, pool="threads", concurrency=2):
            results = [app.tasks["add"].delay(number, 1) for number in range(20)]
            chained = chain(app.tasks["add"].s(1, 2), app.tasks["add"].s(3), app.tasks["add"].s(4)).delay()
            repeated = app.tasks["again"].delay(2)

            assert [result.get(timeout=SECONDS) for result in results] == list(range(1, 21))
            assert chained.get(timeout=SECONDS) == 10
            assert repeated.get(timeout=SECONDS) == 2

    def test_a_worker_that_stops_leaves_what_it_had_not_begun_to_the_next(self, app: Celeriac) -> None:
        begun, go_on = threading.Event(), threading.Event()

        @app.task(name="waits", shared=False)
        def waits() -> str:
            begun.set()
            assert go_on.wait(SECONDS)
            return "done"

        first = app.tasks["waits"].delay()
        with running(app, pool="threads", concurrency=1) as worker:
            assert begun.wait(SECONDS)
            rest = [app.tasks["add"].delay(number, 0) for number in range(10)]
            worker.stop()
            go_on.set()
        assert first.get(timeout=SECONDS) == "done"

        with running(app, pool="threads", concurrency=1):
            assert [result.get(timeout=SECONDS) for result in rest] == list(range(10))

    def test_what_would_have_to_wait_is_put_aside_whole(self, app: Celeriac, place: Place) -> None:
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        for name, task_id in (("later", "foreign"), ("add", "eta")):
            message = app.publisher.build(name, (1, 2), task_id=task_id, task=app.tasks[name])
            eta = {"eta": later} if name == "add" else {}
            app.connections.transport().publish([replace(message, headers={**message.headers, **eta})], timeout=SECONDS)
        found: dict[str, Message] = {}

        def both_came() -> bool:
            taken = dead.receive(["celeriac.dead"], limit=9, timeout=0.1)
            found.update({str(one.message.headers["id"]): one.message for one in taken})
            return len(found) == 2

        dead = place.transport()
        dead.open(timeout=20)
        try:
            with running(app, pool="threads", concurrency=1):
                eventually(both_came, "two dead letters", 20)
        finally:
            dead.close()
        assert found["eta"].headers["eta"] == later
        assert found["eta"].body == found["foreign"].body != b""

    def test_what_a_killed_worker_held_is_there_as_the_transport_promises(self, place: Place) -> None:
        transport = place.transport()
        transport.open(timeout=20)
        try:
            transport.publish([Message(body=b"held", routing_key="q")], timeout=20)
            command = [sys.executable, "-c", HOLDS_ONE, place.url, json.dumps(place.options)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "held\n"
                assert transport.receive(["q"], limit=1, timeout=0.5) == []
                holder.kill()
            transport.publish([Message(body=b"later", routing_key="q")], timeout=20)

            wanted = {b"held": 2, b"later": 1} if place.keeps else {b"later": 1}
            found: dict[bytes, int] = {}

            def all_came() -> bool:
                found.update(
                    {one.message.body: one.deliveries for one in transport.receive(["q"], limit=9, timeout=0.1)}
                )
                return found == wanted

            eventually(all_came, f"{wanted}", 20)
            assert transport.receive(["q"], limit=9, timeout=1.5) == []
            assert place.keeps == (not transport.capabilities.guarantee.startswith("at most once"))
        finally:
            transport.close()


class TestOnFiles(Workers):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place("kombu+filesystem://", folder_options(tmp_path), keeps=True)


@pytest.mark.server("postgresql")
class TestInPostgresql(Workers):
    @pytest.fixture
    def place(self, server_url: str) -> Iterator[Place]:
        with kombu_places.database(server_url) as url:
            yield Place(f"kombu+{kombu_places.broker_url(url)}", {"polling_interval": 0.02}, keeps=False)
