"""Whatever comes in: an error at the caller, or a letter with its reason; the worker lives on."""

from __future__ import annotations

import pytest
from running import eventually, running

from celeriac.errors import ContentDisallowed, DecodeError, EncodeError, InvalidMessage
from celeriac.model.message import Message
from celeriac.model.protocol import task_headers

DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]

LOOP: list = []
LOOP.append(LOOP)


@pytest.fixture
def echo(app):
    @app.task(name="echo")
    def echo(value=None):
        return value

    return echo


def message(body=b"[[], {}, {}]", content_type="application/json", encoding="utf-8", **headers):
    table = task_headers(task="echo", id="bad", origin="test", argsrepr="", kwargsrepr="")
    table.update(headers)
    return Message(body=body, headers=table, routing_key="celery", content_type=content_type, content_encoding=encoding)


def letters(transport, kind=None):
    return transport.letters(kind, limit=100, timeout=5)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", {"deep": "\udfff"}, LOOP, DEEP, object(), {1, 2}, {("a",): 1}],
    ids=["nan", "inf", "lone surrogate", "nested surrogate", "recursion", "depth", "object", "set", "key"],
)
def test_what_json_cannot_carry_is_refused_at_the_caller(app, echo, transport, value):
    with pytest.raises(EncodeError):
        echo.delay(value)

    assert transport.depths(["celery"], timeout=5)[0].waiting == 0


def test_a_huge_body_is_refused_at_the_caller_with_the_setting(app, echo):
    app.conf.task_max_body_bytes = 1000

    with pytest.raises(EncodeError, match="task_max_body_bytes"):
        echo.delay("x" * 2000)


@pytest.mark.parametrize(("args", "kwargs"), [((1, 2), {}), ((), {"other": 1})])
def test_wrong_arguments_are_refused_at_the_caller(echo, args, kwargs):
    with pytest.raises(TypeError):
        echo.delay(*args, **kwargs)


def test_wrong_arguments_of_another_producer_fail_the_task(app, echo):
    result = app.AsyncResult("bad")

    with running(app):
        app.publisher.send([message(b"[[1, 2, 3], {}, {}]")])

        with pytest.raises(TypeError):
            result.get(timeout=10)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (message(b"\xff\xfe not json"), DecodeError),
        (message(b"[" * 100_000), DecodeError),
        (message(b""), DecodeError),
        (message(b"[[], {}]"), InvalidMessage),
        (message(b"[7, {}, {}]"), InvalidMessage),
        (message(b'"text"'), InvalidMessage),
        (message(b"cos\nsystem\n(S'true'\ntR.", "application/x-python-serialize", "binary"), ContentDisallowed),
        (message(b"a: b", "application/x-yaml"), ContentDisallowed),
        (message(b"x", compression="application/x-gzip"), DecodeError),
        (message(b"[[], {}, {}]", encoding="utf-99"), DecodeError),
    ],
    ids=["bytes", "depth", "empty", "two parts", "args", "text", "pickle", "unknown type", "compression", "encoding"],
)
def test_a_body_that_cannot_be_read_is_a_dead_letter_and_a_failure(app, echo, transport, bad, error):
    with running(app):
        app.publisher.send([bad])

        with pytest.raises(error):
            app.AsyncResult("bad").get(timeout=10)
        assert echo.delay("still here").get(timeout=10) == "still here"

    (letter,) = letters(transport, "dead")
    assert letter.reason
    assert letter.message.body == bad.body


@pytest.mark.parametrize(
    ("headers", "field"),
    [({"id": None}, "id"), ({"task": 7}, "task"), ({"retries": "x"}, "retries"), ({"eta": "soon"}, "eta"),
     ({"expires": "never"}, "expires"), ({"timelimit": [1, 2, 3]}, "timelimit")],
)  # fmt: skip
def test_headers_that_cannot_be_read_are_a_dead_letter_that_names_the_field(app, echo, transport, headers, field):
    with running(app):
        app.publisher.send([message(**headers)])

        (letter,) = eventually(lambda: letters(transport, "dead"), "a dead letter")
        assert echo.delay("still here").get(timeout=10) == "still here"

    assert f"'{field}'" in letter.reason


def test_a_message_without_task_headers_is_a_dead_letter(app, echo, transport):
    with running(app):
        app.connections.transport().publish([Message(body=b"hello", routing_key="celery")], timeout=5)

        (letter,) = eventually(lambda: letters(transport, "dead"), "a dead letter")

    assert "'task'" in letter.reason


def test_an_unknown_task_is_parked_and_runs_once_somebody_knows_it(app, echo, transport):
    result = app.send_task("not.here.yet", (1,))

    with running(app):
        (letter,) = eventually(lambda: letters(transport, "parked"), "a parked message")
        assert "not.here.yet" in letter.reason
        assert result.state == "PENDING"

    app.task(lambda x: x + 1, name="not.here.yet")
    with running(app):
        assert result.get(timeout=10) == 2
    assert letters(transport) == []


def test_a_result_that_cannot_be_written_is_a_failure_that_says_so(app):
    @app.task
    def unwritable():
        return object()

    with running(app), pytest.raises(EncodeError):
        unwritable.delay().get(timeout=10)


class Hostile(Exception):
    def __init__(self):
        super().__init__(object())

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "error",
    [Hostile(), ValueError(object()), ValueError("\ud800"), ExceptionGroup("both", [ValueError("a"), KeyError("b")])],
    ids=["hostile", "unwritable argument", "surrogate", "group"],
)
def test_whatever_a_task_raises_is_recorded(app, echo, error):
    @app.task
    def fail():
        raise error

    with running(app):
        result = fail.delay()
        with pytest.raises(Exception):  # noqa: B017, PT011  of which type depends on what could be rebuilt
            result.get(timeout=10)
        assert echo.delay("still here").get(timeout=10) == "still here"

    assert result.state == "FAILURE"


def test_a_recursing_task_fails_and_the_worker_lives(app, echo):
    @app.task
    def recurse(n=0):
        return recurse.run(n + 1)

    with running(app):
        with pytest.raises(RecursionError):
            recurse.delay().get(timeout=10)
        assert echo.delay("still here").get(timeout=10) == "still here"


def test_pickle_works_where_both_sides_accept_it(broker, app):
    app.conf.update(task_serializer="pickle", result_serializer="pickle", accept_content=["json", "pickle"])

    @app.task
    def echo(value):
        return value

    with running(app):
        assert echo.delay({1, 2, 3}).get(timeout=10) == {1, 2, 3}


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
def test_compressed_bodies_are_read(app, echo, compression):
    with running(app):
        assert echo.apply_async(("x" * 5000,), compression=compression).get(timeout=10) == "x" * 5000
