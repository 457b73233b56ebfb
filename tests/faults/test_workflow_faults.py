"""Workflows come to their right end, and their bodies count once, whatever becomes of workers and messages."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext

import pytest
from fleet import Fleet, wait_until
from msgspec.structs import replace
from nursery import killing
from running import eventually, running
from sites import PLACES, place

from celeriac import Celeriac, chain, chord, group
from celeriac.errors import ChordError
from celeriac.model.outcome import Action
from celeriac.runtime import commits

WORKFLOWS = int(os.environ.get("CELERIAC_FAULTS_WORKFLOWS", "600"))
WORKERS = 6
KILL_SECONDS = 0.2
"""How often the worker that has been at work longest is killed, and another one started."""
pytestmark = pytest.mark.timeout(300)


@contextmanager
def broker(name):
    if name == "sqlite":
        with nullcontext("") as url:
            yield url
        return
    servers = pytest.importorskip("redis_servers")
    if not servers.installed():
        pytest.skip("there is no Redis server to start")
    with servers.redis_server("--appendonly", "no") as server:
        yield server.url


@contextmanager
def client(fleet):
    """An app that publishes to the fleet's broker and knows its tasks by name only."""
    app = Celeriac("client", set_as_current=False)
    app.conf.update(broker_url=fleet.environment["FAULTS_BROKER"], result_backend=fleet.environment["FAULTS_BROKER"])
    try:
        yield app
    finally:
        app.close()


def name(task):
    return f"workflows_app.{task}"


def workflow(app, number):
    """Return a workflow with a body, whose sum is 2 + 2 + 1 + 4, and what follows it."""

    def step():
        return app.signature(name("step"))

    header = group([chain(step(), step()), chain(step(), step()), step()])
    inner = chord([step(), step()], app.signature(name("step"), args=(0,)))
    body = app.signature(name("body"), args=(number,))
    body.link(app.signature(name("child"), args=(number,)))
    return chord([*header.tasks, chain(inner, step(), step(), step())], body)


SUM = 2 + 2 + 1 + 4


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_workflows_end_right_and_settle_once_while_workers_are_killed(store, tmp_path):
    with broker(store) as url, Fleet(tmp_path, broker=url) as fleet, client(fleet) as app:
        results = [workflow(app, number).apply_async() for number in range(WORKFLOWS)]
        with killing(fleet, WORKERS, KILL_SECONDS) as nursery:
            values = [result.get(timeout=240) for result in results]
            eventually(lambda: quiet(app), "nothing is left to do", 60)

        assert values == [SUM] * WORKFLOWS
        assert len(nursery.killed) > 10
        # Who was running when its worker was killed runs again; but no message was published twice.
        notes = {tuple(line.split()[:2]) for line in (tmp_path / "runs.log").read_text().splitlines()}
        published = Counter((what, int(told.split(":")[0])) for what, told in notes)
        assert published == Counter((what, number) for what in ("body", "child") for number in range(WORKFLOWS))


def quiet(app):
    depths = app.connections.transport().depths(timeout=30)
    return not any(depth.waiting + depth.delayed + depth.held for depth in depths)


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_member_that_kills_its_worker_each_time_fails_the_body_once(store, tmp_path):
    with broker(store) as url, Fleet(tmp_path, broker=url) as fleet, client(fleet) as app:
        failing = app.signature(name("body"), args=(1,))
        failing.link_error(app.signature(name("told"), args=(1,)))
        crash = app.signature(name("crash"))
        result = chord([crash, app.signature(name("step"))], failing).apply_async()
        over = threading.Event()

        def tend():
            while not over.wait(0.1):
                if not any(process.poll() is None for process in fleet.running):
                    fleet.start(pool="solo", app="workflows_app")

        tending = threading.Thread(target=tend)
        tending.start()
        try:
            with pytest.raises(ChordError, match="WorkerLostError"):
                result.get(timeout=120)
            wait_until((tmp_path / "told.log").exists, 60, "the error callback")
            eventually(lambda: quiet(app), "nothing is left to do", 60)
        finally:
            over.set()
            tending.join()

        assert (tmp_path / "told.log").read_text() == "1\n"


class Twice:
    """Has each message's first run settled but for its acknowledgement, as if its worker had died just then."""

    def __init__(self, patch):
        self.seen: set[tuple[str, int]] = set()
        self.store_first, self.commit = commits.Stores._store_first, commits.Stores.commit
        committed, stored = self.committed, self.stored

        def commit(stores, batch):
            return committed(stores, batch)

        def store_first(stores, batch):
            stored(stores, batch)

        patch.setattr(commits.Stores, "commit", commit)
        patch.setattr(commits.Stores, "_store_first", store_first)

    def committed(self, stores, batch):
        if stores.one_transaction:
            self.release_first(batch)
        return self.commit(stores, batch)

    def stored(self, stores, batch):
        self.store_first(stores, batch)
        self.release_first(batch)

    def release_first(self, batch):
        nothing = dict.fromkeys(("records", "followups", "joins", "grows", "parts", "closes"), ())
        for item in batch:
            verdict = item.verdict
            if verdict.delivery is None or verdict.action is not Action.ACK:
                continue
            headers = verdict.delivery.message.headers
            if (key := (headers["id"], headers["retries"])) not in self.seen:
                self.seen.add(key)
                item.verdict = replace(verdict, action=Action.RELEASE, **nothing)


@pytest.mark.parametrize("where", PLACES)
def test_every_message_delivered_twice_has_the_effects_of_one(where, tmp_path, monkeypatch):
    Twice(monkeypatch)
    runs: Counter[object] = Counter()
    with place(where, tmp_path) as conf:
        app = Celeriac("twice", set_as_current=False)
        app.conf.update(conf)
        app.task(lambda *args: 1 + sum(arg for arg in args if isinstance(arg, int)), name=name("step"))

        @app.task(name=name("body"), bind=True)
        def body(self, values, number):
            runs[self.request.id] += 1
            return sum(values)

        @app.task(name=name("child"))
        def child(value, number):
            runs[number] += 1

        with running(app, pool="threads", concurrency=4):
            results = [workflow(app, number).apply_async() for number in range(20)]
            values = [result.get(timeout=60) for result in results]
            eventually(lambda: quiet(app), "nothing is left to do", 60)
        app.close()

    assert values == [SUM] * 20
    assert set(runs) == {result.id for result in results} | set(range(20))
    if where != "apart":
        # Each message of a body, and of a child, was published once and delivered twice.
        assert set(runs.values()) == {2}
