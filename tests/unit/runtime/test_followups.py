"""What a finished task sends on."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from parts import make_message

from celeriac.client.context import Context
from celeriac.model.outcome import Action, Outcome
from celeriac.model.protocol import Embed
from celeriac.model.request import Request
from celeriac.runtime.executor import Executor
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


# -- the next step of a chain -----------------------------------------------------------------------

LATER = (
    '{"task": "last", "args": [], "kwargs": {}, "options": {"task_id": "l"}, "subtask_type": null, "immutable": false}'
)
NEXT = '{"task":"then","args":[1],"kwargs":{"k":2},"options":{%s},"subtask_type":null,"immutable":false}'


@pytest.fixture
def run(celeriac_app):
    """Run a task whose message carries a chain, given as JSON; return the outcome."""

    def run(steps: str, task: str = "first", **message: object) -> Outcome:
        body = f'[[],{{}},{{"callbacks":null,"errbacks":null,"chain":{steps},"chord":null}}]'.encode()
        celeriac_app.finalize()
        sent = replace(make_message(task, body=body), **message)
        request = Request(key=1, task=task, id="id", message=sent, queue="celery", deliveries=1, received=0.0)
        executor = Executor(celeriac_app, "unit@box")
        try:
            return executor.execute(request)
        finally:
            executor.close()

    @celeriac_app.task(name="first")
    def first():
        return "value"

    return run


def test_the_steps_after_the_next_one_go_on_as_they_were_written(run):
    (message,) = run(f"[{LATER}, {NEXT % ''}]").followups

    assert message.headers["task"] == "then"
    assert LATER.encode() in message.body
    args, kwargs, embed = json.loads(message.body)
    assert (args, kwargs) == (["value", 1], {"k": 2})
    assert embed == {"callbacks": None, "errbacks": None, "chain": [json.loads(LATER)], "chord": None}


def test_the_next_step_brings_its_own_links_and_the_join_it_is_a_part_of(run):
    link = '{"task":"c","args":[],"kwargs":{},"options":{},"subtask_type":null,"immutable":false}'
    chord = '{"task":"body","join":"fail_fast"}'
    options = f'"link":[{link}],"link_error":[{link}],"chord":{chord}'

    (message,) = run(f"[{LATER},{NEXT % options}]").followups

    assert json.loads(message.body)[2] == {
        "callbacks": [json.loads(link)],
        "errbacks": [json.loads(link)],
        "chain": [json.loads(LATER)],
        "chord": json.loads(chord),
    }


@pytest.mark.parametrize(
    "options",
    [
        pytest.param('"serializer":"pickle"', id="the next message has another serializer"),
        pytest.param('"headers":{"when":{"__type__":"date","__value__":"2026-01-02"}}', id="something in it is marked"),
    ],
)
def test_steps_are_read_and_written_anew_where_they_cannot_stand_as_they_are(celeriac_app, run, options):
    celeriac_app.conf.accept_content = ["json", "pickle"]

    (message,) = run(f"[{LATER},{NEXT % options}]").followups

    decoded = celeriac_app.codecs.loads(message.body, message.content_type, accept=["json", "pickle"])
    assert decoded[2]["chain"] == [json.loads(LATER)]
    assert LATER.encode() not in message.body


def test_a_task_sees_the_steps_as_a_list_and_may_change_them(celeriac_app, run):
    seen = []

    @celeriac_app.task(name="looks", bind=True)
    def looks(self):
        seen.append([step["task"] for step in self.request.chain])
        assert type(self.request.chain) is list
        del self.request.chain[0]

    (message,) = run(f"[{LATER},{NEXT % ''}]", "looks").followups

    assert seen == [["last", "then"]]
    assert not json.loads(message.body)[2]["chain"]


def test_a_task_that_fails_is_recorded_for_the_steps_that_nobody_has_read(celeriac_app, run):
    @celeriac_app.task(name="fails")
    def fails():
        raise KeyError("k")

    next_id = '"task_id":"n"'
    outcome = run(f"[{LATER},{NEXT % next_id}]", "fails")

    assert [record.id for record in outcome.records] == ["id", "l", "n"]


@pytest.mark.parametrize("steps", ["[5]", '[{},"{}"]', '[[{"task":"x"}],{}]', "{}", '[{"a":}]'])
def test_a_message_whose_steps_are_none_is_a_dead_letter(run, steps):
    assert run(steps).action is Action.DEAD
