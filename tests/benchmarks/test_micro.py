"""The parts of a task's way, each by itself: microseconds that add up to what bench_embedded.py sees.

nox -s bench -- --only nothing     (pytest-benchmark prints the table)
"""

from __future__ import annotations

import time

import pytest

from celeriac import Celeriac
from celeriac.model.outcome import Action, Verdict
from celeriac.model.protocol import check_headers
from celeriac.model.request import Request
from celeriac.runtime.admission import Admission
from celeriac.runtime.executor import Executor
from celeriac.runtime.inflight import Inflight

pytest.importorskip("pytest_benchmark")

BATCH = 500


@pytest.fixture
def app(tmp_path):
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    with Celeriac("micro", broker=url, set_as_current=False) as app:
        yield app


@pytest.fixture
def add(app):
    @app.task
    def add(x, y):
        return x + y

    return add


@pytest.fixture
def message(app, add):
    return app.publisher.build(add.name, (1, 2), task=add)


@pytest.fixture
def request_of_add(add, message):
    return Request(
        key=1, task=add.name, id="1", message=message, queue="celery", deliveries=1, received=time.monotonic()
    )


def test_build_a_message(benchmark, app, add):
    benchmark(app.publisher.build, add.name, (1, 2), task=add)


def test_delay_on_disk(benchmark, add):
    """One durable commit each: mostly the disk."""
    benchmark(add.delay, 1, 2)


def test_publish_500_at_once(benchmark, app, add):
    calls = [add.s(n, 1) for n in range(BATCH)]

    benchmark.pedantic(app.publish_many, args=(calls,), rounds=10)


def test_check_headers(benchmark, message):
    benchmark(check_headers, message.headers)


def test_read_a_body(benchmark, app, message):
    benchmark(app.codecs.loads, message.body, message.content_type, message.content_encoding)


def test_execute(benchmark, app, request_of_add):
    executor = Executor(app, "bench@box")

    outcome = benchmark(executor.execute, request_of_add)

    assert outcome.state == "SUCCESS"


def test_admit_500(benchmark, app, add):
    app.publish_many([add.s(n, 1) for n in range(BATCH)])
    transport = app.connections.transport()
    deliveries = transport.receive(["celery"], limit=BATCH, timeout=5)
    executor = Executor(app, "bench@box")
    admission = Admission(app, executor.failures, Inflight(app.clock), app.connections.coordinator(), app.clock)

    admitted = benchmark(admission.admit, deliveries)

    assert len(admitted.ready) == BATCH


def test_take_and_settle_500_with_results(benchmark, app, add):
    """One take and one settlement, as the worker does them, at the default durability."""
    transport, executor = app.connections.transport(), Executor(app, "bench@box")

    def published():
        app.publish_many([add.s(n, 1) for n in range(BATCH)])
        return (), {}

    def take_and_settle():
        verdicts = []
        for key, delivery in enumerate(transport.receive(["celery"], limit=BATCH, timeout=5)):
            request = Request(
                key=key, task=add.name, id="", message=delivery.message, queue="celery", deliveries=1, received=0.0
            )
            outcome = executor.execute(request)
            verdicts.append(Verdict(delivery=delivery, action=Action.ACK, records=outcome.records))
        assert len(verdicts) == BATCH
        assert transport.settle(verdicts, timeout=10) == []

    benchmark.pedantic(take_and_settle, setup=published, rounds=10)
