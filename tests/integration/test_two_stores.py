"""Broker and result store are two systems: results first, then what follows, then acknowledgements."""

from __future__ import annotations

import uuid

import pytest
from running import eventually, running

from celeriac import Celeriac
from celeriac.errors import StoreLost


@pytest.fixture
def app(tmp_path):
    url = f"memory://{uuid.uuid4().hex}"
    with Celeriac("proj", broker=url, backend=f"file://{tmp_path / 'results'}", set_as_current=False) as app:
        (tmp_path / "results").mkdir()
        yield app


def test_results_and_callbacks_arrive(app):
    @app.task
    def add(x, y):
        return x + y

    with running(app):
        result = add.apply_async((1, 2), link=add.s(10))

        assert result.get(timeout=10) == 3
        (child,) = result.children
        assert child.get(timeout=10) == 13


def test_a_result_store_that_is_gone_holds_the_acknowledgement_back(app, monkeypatch):
    app.conf.broker_reconnect_max_seconds = 0.2

    @app.task
    def work():
        return "kept"

    kind = type(app.connections.results())
    put, failures = kind._put, []

    def failing(self, records, timeout):
        if len(failures) < 3:
            failures.append(True)
            raise StoreLost("gone")
        put(self, records, timeout)

    monkeypatch.setattr(kind, "_put", failing)
    with running(app):
        assert work.delay().get(timeout=20) == "kept"

    assert len(failures) == 3


def test_what_follows_a_task_and_cannot_be_sent_makes_a_dead_letter_and_holds_up_no_other(app):
    @app.task
    def work():
        return "done"

    nowhere = work.s().set(exchange="no-such-exchange", routing_key="x")
    with running(app):
        bad = work.apply_async(link=nowhere)
        good = [work.delay() for _ in range(10)]

        assert [result.get(timeout=10) for result in good] == ["done"] * 10
        assert bad.get(timeout=10) == "done"
        transport = app.connections.transport()
        (letter,) = eventually(lambda: transport.letters("dead", limit=10, timeout=5), "a dead letter")
    assert "no-such-exchange" in letter.reason
