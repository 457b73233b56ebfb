"""What a finished task sends on."""

from __future__ import annotations

import json

import pytest

from celeriac.client.context import Context
from celeriac.model.protocol import Embed
from celeriac.runtime.followups import after_failure

CALLED = "called at once"
CASES = [
    ("by_id", (), {}, ["x"]),
    ("by_id_and_channel", ("ops",), {}, ["x", "ops"]),
    ("by_id_and_channel", (), {"channel": "ops"}, ["x"]),
    ("in_detail", (), {}, CALLED),
    ("in_detail", ("ops",), {}, CALLED),
    ("starred", (), {}, CALLED),
]


@pytest.fixture
def calls(celeriac_app):
    made = []

    @celeriac_app.task(name="by_id")
    def by_id(task_id):
        raise AssertionError

    @celeriac_app.task(name="by_id_and_channel")
    def by_id_and_channel(task_id, channel):
        made.append((task_id, channel))

    @celeriac_app.task(name="in_detail")
    def in_detail(request, error, traceback, channel=None):
        made.append((request.id, error.args, traceback, channel))

    @celeriac_app.task(name="starred")
    def starred(*args):
        made.append(len(args))

    return made


def fail(app, errback):
    return after_failure(app, Context({"id": "x"}), Embed(errbacks=[dict(errback)]), KeyError("k"), "where")


@pytest.mark.parametrize(("name", "args", "kwargs", "expected"), CASES)
def test_only_the_arguments_that_an_error_callback_lacks_decide_whether_it_is_called(
    celeriac_app, calls, name, args, kwargs, expected
):
    messages = fail(celeriac_app, celeriac_app.tasks[name].signature(args, kwargs))

    assert bool(calls) is (expected is CALLED)
    assert [json.loads(each.body)[:2] for each in messages] == ([] if expected is CALLED else [[expected, kwargs]])


def test_an_error_callback_that_is_called_gets_the_arguments_it_was_made_with(celeriac_app, calls):
    fail(celeriac_app, celeriac_app.tasks["in_detail"].s("ops"))
    fail(celeriac_app, celeriac_app.tasks["in_detail"].s(channel="ops"))

    assert calls == [("x", ("k",), "where", "ops")] * 2


def test_an_immutable_error_callback_gets_nothing_else(celeriac_app, calls):
    messages = fail(celeriac_app, celeriac_app.tasks["by_id_and_channel"].si("mine", "ops"))

    assert calls == [("mine", "ops")]
    assert messages == []
