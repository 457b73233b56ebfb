"""Each side runs what the other sent, and sends on the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from celery_side import CALLS, Sides, as_kombu, as_ours
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac.model.message import Message

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
marked = st.datetimes() | st.dates() | st.times() | st.decimals(allow_nan=False) | st.uuids() | st.binary(max_size=9)
values = st.recursive(
    plain | marked, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

CALL: dict[str, Any] = {
    "task_id": "1",
    "root_id": "root",
    "parent_id": "parent",
    "group_id": "group",
    "group_index": 3,
    "retries": 2,
    "eta": datetime(2020, 1, 1, tzinfo=UTC),
    "expires": datetime(2100, 1, 1, tzinfo=UTC),
    "time_limit": 20,
    "soft_time_limit": 10,
    "shadow": "other",
    "headers": {"mine": {"a": [1]}},
    "reply_to": "reply",
    "stamped_headers": ["color"],
    "color": ["red"],
    "replaced_task_nesting": 2,
}


GROUPED_BY_CELERY = {"group", "group_index"}
"""Celery makes a group of several callbacks, and of each error callback, whose id nobody ever learns; we make none."""


def sent(messages: Any, but: set[str] = frozenset()) -> list[Any]:
    """Return what must agree of messages that a run has sent."""
    ours = [as_ours(message) if not isinstance(message, Message) else message for message in messages]
    return [
        (
            {name: value for name, value in each.headers.items() if name not in {"id", "eta", "origin", *but}},
            json.loads(each.body),
            each.routing_key,
        )
        for each in ours
    ]


@SOME
@given(args=st.lists(values, max_size=3).map(tuple), kwargs=st.dictionaries(names, values, max_size=3))
def test_ours_runs_the_calls_of_celery_and_celery_reads_the_results(sides: Sides, args: Any, kwargs: Any):
    task_id = str(uuid4())
    message = sides.celery_message("proj.echo", args, kwargs, task_id=task_id)

    outcome = sides.run(as_ours(message))

    assert outcome.state == "SUCCESS"
    assert sides.theirs.AsyncResult(task_id).get(timeout=1) == [list(args), kwargs]


@SOME
@given(args=st.lists(values, max_size=3).map(tuple), kwargs=st.dictionaries(names, values, max_size=3))
def test_celery_runs_our_calls_and_we_read_the_results(sides: Sides, args: Any, kwargs: Any):
    task_id = str(uuid4())
    message = sides.message("proj.echo", args, kwargs, task_id=task_id)

    sides.celery_run(as_kombu(message))

    assert sides.ours.AsyncResult(task_id).get(timeout=1) == [list(args), kwargs]


def test_a_run_sees_the_same_request_on_either_side(sides: Sides):
    theirs = sides.celery_message("proj.describe", **{**CALL, "task_id": "described-by-ours"})
    ours = sides.message("proj.describe", **{**CALL, "task_id": "described-by-theirs"})

    sides.run(as_ours(theirs))
    sides.celery_run(as_kombu(ours))

    first = sides.ours.AsyncResult("described-by-ours").get(timeout=1)
    second = sides.ours.AsyncResult("described-by-theirs").get(timeout=1)
    assert first.pop("id") == first.pop("correlation_id") == "described-by-ours"
    assert second.pop("id") == second.pop("correlation_id") == "described-by-theirs"
    assert first.pop("mine") == {"a": [1]}
    assert second.pop("mine", None) in ({"a": [1]}, None)
    assert first == second


@pytest.mark.parametrize("kind", ["link", "chain", "link_error"])
def test_a_run_sends_on_the_same_messages_on_either_side(sides: Sides, kind: str):
    def options(app: Any) -> dict[str, Any]:
        first, second = (app.tasks["proj.echo"].signature((n,), {"k": n}, task_id=f"{kind}-{n}") for n in (1, 2))
        if kind == "link_error":
            first, second = (app.tasks["proj.note"].signature(task_id=f"{kind}-{n}") for n in (1, 2))
        return {kind: [first, second], "task_id": "sends-on", "root_id": "root"}

    args = ("proj.fail", ("KeyError", "k")) if kind == "link_error" else ("proj.echo", (0,))
    theirs = sides.celery_message(*args, **options(sides.theirs))
    ours = sides.message(*args, **options(sides.ours))

    by_celery = sides.celery_run(theirs)
    by_celery_for_us = sides.celery_run(as_kombu(ours))
    by_us = sides.run(as_ours(theirs)).followups
    by_us_for_us = sides.run(ours).followups

    assert sent(by_celery), "the case itself must send something on"
    but = GROUPED_BY_CELERY if kind != "chain" else set()
    assert [message.headers["id"] for message in (*by_celery, *by_us)] == [
        f"{kind}-{n}" for n in ((2, 2) if kind == "chain" else (1, 2, 1, 2))
    ]
    assert sent(by_us, but) == sent(by_us_for_us, but) == sent(by_celery, but) == sent(by_celery_for_us, but)


ERRBACKS: dict[str, Any] = {
    "one argument": ("proj.one", (), {}, {}),
    "one argument and another already given": ("proj.two", ("ops",), {}, {}),
    "one argument and another already given by name": ("proj.two", (), {"channel": "ops"}, {}),
    "one argument and one by name only": ("proj.keyed", (), {"channel": "ops"}, {}),
    "request, exception and traceback": ("proj.details", (), {}, {}),
    "details and an argument already given": ("proj.details", ("ops",), {}, {}),
    "details and an argument already given by name": ("proj.details", (), {"channel": "ops"}, {}),
    "any number of arguments": ("proj.starred", (), {}, {}),
    "all its arguments already": ("proj.two", ("id", "ops"), {}, {"immutable": True}),
    "its one argument already": ("proj.one", ("id",), {}, {"immutable": True}),
    "too few arguments": ("proj.two", (), {}, {}),
    "the task and an argument": ("proj.bound", (), {}, {}),
    "the task, an argument and another already given": ("proj.bound", ("ops",), {}, {}),
}


@pytest.mark.parametrize("case", ERRBACKS)
def test_an_error_callback_is_called_or_sent_as_in_celery(sides: Sides, case: str):
    name, args, kwargs, options = ERRBACKS[case]
    errback = sides.theirs.tasks[name].signature(args, kwargs, **options)
    message = sides.celery_message("proj.fail", ("KeyError", "k"), task_id="failed", link_error=[errback])

    CALLS.clear()
    by_celery = sent(sides.celery_run(message), GROUPED_BY_CELERY)
    called_by_celery = CALLS.copy()
    CALLS.clear()
    by_us = sent(sides.run(as_ours(message)).followups, GROUPED_BY_CELERY)
    called_by_us = CALLS.copy()

    assert (by_us, called_by_us) == (by_celery, called_by_celery)


@pytest.mark.parametrize("options", [{"task_id": "1"}, CALL], ids=["plain", "with options"])
def test_a_retry_is_the_same_message_on_either_side(sides: Sides, options: dict[str, Any]):
    theirs = sides.celery_message("proj.again", (1,), {"k": 2}, **options)
    ours = sides.message("proj.again", (1,), {"k": 2}, **options)

    by_celery = sides.celery_run(theirs)
    by_celery_for_us = sides.celery_run(as_kombu(ours))
    by_us = sides.run(as_ours(theirs)).followups
    by_us_for_us = sides.run(ours).followups

    # In Celery a task that no other has published becomes its own parent when it is retried.
    but = set() if "parent_id" in options else {"parent_id"}
    assert [message.headers["id"] for message in (*by_celery, *by_us)] == ["1", "1"]
    assert sent(by_us, but) == sent(by_us_for_us, but) == sent(by_celery, but) == sent(by_celery_for_us, but)


def test_a_worker_of_celerys_takes_our_messages_from_its_queue(sides: Sides):
    calls = {str(uuid4()): (number, number) for number in range(10)}
    messages = [sides.message("proj.add", args, task_id=task_id, countdown=0.01) for task_id, args in calls.items()]

    with sides.celery_worker():
        for message in messages:
            sides.celery_push(message)
        found = {task_id: sides.ours.AsyncResult(task_id).get(timeout=10) for task_id in calls}

    assert found == {task_id: sum(args) for task_id, args in calls.items()}
