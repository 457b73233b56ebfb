"""A result that its store does not take: who waits is told, and the worker goes on."""

from __future__ import annotations

import uuid

import pytest
from running import eventually, running

from celeriac import Celeriac, chord
from celeriac.errors import EncodeError, RemoteError


@pytest.fixture(params=["one transaction", "two stores"])
def app(request):
    testing = pytest.importorskip("celeriac_redis.testing")
    with testing.store() as url:
        broker = url if request.param == "one transaction" else f"memory://{uuid.uuid4().hex}"
        with Celeriac("proj", broker=broker, backend=url, set_as_current=False) as app:
            app.conf.result_backend_transport_options = {"result_max_bytes": 2000}
            yield app


def test_who_waits_for_a_result_that_is_too_large_gets_an_error_that_says_what_to_do(app):
    @app.task
    def text(length):
        return "x" * length

    with running(app):
        large = text.delay(3000)
        with pytest.raises((EncodeError, RemoteError)) as told:
            large.get(timeout=20)
        small = text.delay(1)

        assert small.get(timeout=20) == "x"
    assert large.id in str(told.value)
    assert "at most 2000" in str(told.value)
    assert "result_max_bytes" in str(told.value)
    letters = app.connections.transport().letters("dead", limit=10, timeout=5)
    assert [letter.message.headers["id"] for letter in letters] == [large.id]


def test_the_others_of_its_batch_are_stored_and_its_error_callback_is_called(app):
    called = []

    @app.task
    def text(length):
        return "x" * length

    @app.task
    def told(failed):
        called.append(failed)
        return failed

    results = [text.apply_async((length,), link_error=told.s()) for length in (1, 3000, 2)]
    with running(app):
        with pytest.raises((EncodeError, RemoteError)):
            results[1].get(timeout=20)

        assert [results[0].get(timeout=20), results[2].get(timeout=20)] == ["x", "xx"]
        eventually(lambda: called, "the error callback")
    assert len(called) == 1


def test_a_chord_whose_member_returns_too_much_fails(app):
    @app.task
    def text(length):
        return "x" * length

    @app.task
    def total(texts):
        return len(texts)

    with running(app):
        body = chord([text.s(1), text.s(3000)])(total.s())

        with pytest.raises(Exception, match="result_max_bytes"):
            body.get(timeout=20)
