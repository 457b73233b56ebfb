"""On one RabbitMQ, a worker of each side runs what a client of the other calls, and its results come back by rpc://."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import pytest
from amqp_sides import MARKS, SECONDS, Shared, both

import celeriac

pytestmark = MARKS
OTHER = {"theirs": "ours", "ours": "theirs"}

both_ways = pytest.mark.parametrize("client", ["theirs", "ours"])


@contextmanager
def sides() -> Iterator[Shared]:
    accepted = {"accept_content": ["json", "pickle"]}
    ours = {"broker_transport_options": {"native_delayed_delivery_queue_type": "classic"}, **accepted}
    with both(ours=ours, theirs=accepted) as shared:
        yield shared


@pytest.fixture
def shared() -> Iterator[Shared]:
    with sides() as shared:
        yield shared


@pytest.fixture(scope="module", params=["theirs", "ours"])
def crossed(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give the client of one side, while a worker of the other side runs."""
    with sides() as shared, shared.worker_of(OTHER[request.param]):
        yield shared.client(request.param)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"countdown": 1},
    {"eta": timedelta(seconds=1)},
    {"expires": 60},
    {"priority": 9},
    {"retries": 2},
    {"time_limit": 60, "soft_time_limit": 50},
    {"shadow": "other"},
    {"headers": {"mine": "header"}},
    {"headers": {"mine": {"deep": [1, None, {"x": True}]}}},
    {"compression": "gzip"},
    {"compression": "bzip2"},
    {"compression": "zlib"},
    {"serializer": "pickle"},
    {"queue": "celery"},
    {"exchange": "celery", "routing_key": "celery"},
    {"routing_key": "celery", "exchange": ""},
    {"group_id": "the-group", "group_index": 3},
    {"task_id": "a-name-of-the-users-own"},
    {"root_id": "a-root", "parent_id": "a-parent"},
]
SEEN = {"group_id": "group", "task_id": "id"}


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_calling_option_is_understood(crossed, option):
    option = dict(option)
    if "eta" in option:
        option = {"eta": datetime.now(UTC) + option["eta"]}
    began = time.time()

    found = crossed.tasks["proj.describe"].apply_async((1,), **option)
    seen = found.get(timeout=SECONDS)

    assert seen["id"] == seen["correlation_id"] == found.id
    assert seen["reply_to"]
    assert seen["retries"] == option.get("retries", 0)
    assert seen["timelimit"] == [option.get("time_limit"), option.get("soft_time_limit")]
    assert seen["mine"] == option.get("headers", {}).get("mine")
    assert seen["root_id"] == option.get("root_id", found.id)
    for name in ("shadow", "group_id", "group_index", "parent_id"):
        assert seen[SEEN.get(name, name)] == option.get(name)
    if {"countdown", "eta"} & set(option):
        assert time.time() - began > 0.9
        assert seen["eta"]


def test_arguments_come_as_they_were_given(crossed):
    args, kwargs = (1, 2.5, None, True, "ü \N{SNOWMAN}", 2**60, [1, [2]], {"a": {"b": None}}), {"key": [1], "x": "y"}

    assert crossed.tasks["proj.echo"].apply_async(args, kwargs).get(timeout=SECONDS) == [list(args), kwargs]


def test_a_large_body_of_many_frames_comes_whole(crossed):
    text = "0123456789" * 150_000

    assert crossed.tasks["proj.echo"].delay(text).get(timeout=SECONDS) == [[text], {}]


def test_stamps_come_with_the_task(crossed):
    task = crossed.tasks["proj.describe"].s(1)
    task.stamp(monitor="m", stamped_headers=["monitor"])

    seen = task.apply_async().get(timeout=SECONDS)

    assert "monitor" in seen["stamped_headers"]
    assert seen["stamps"]["monitor"] in ("m", ["m"])


def test_an_exception_comes_back_with_its_traceback(crossed):
    result = crossed.tasks["proj.fail"].delay("ValueError", "no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        result.get(timeout=SECONDS)
    assert result.state == "FAILURE"
    assert "ValueError: no such thing" in result.traceback


@both_ways
def test_what_expired_is_revoked(shared, client):
    app = shared.client(client)
    result = app.tasks["proj.add"].apply_async((1, 1), expires=0.5)
    late = app.tasks["proj.add"].delay(2, 2)
    time.sleep(1)  # it is the moment itself that must have passed

    with shared.worker_of(OTHER[client]):
        assert late.get(timeout=SECONDS) == 4
    # RabbitMQ drops what Celery's clients publish with a time to live; ours has its worker say so.
    assert result.state in ("PENDING", "REVOKED")


def test_a_link_is_called_with_the_result(crossed):
    tasks = crossed.tasks
    after = tasks["proj.double"].s()
    followed = after.freeze()

    tasks["proj.add"].apply_async((2, 3), link=after)

    assert followed.get(timeout=SECONDS) == 10


def test_an_error_link_is_called_where_the_task_failed(crossed):
    tasks = crossed.tasks
    after = tasks["proj.double"].si(4)
    followed = after.freeze()

    failing = tasks["proj.fail"].apply_async(("KeyError", "k"), link_error=after)

    with pytest.raises(KeyError):
        failing.get(timeout=SECONDS)
    assert followed.get(timeout=SECONDS) == 8


def test_a_result_that_is_ignored_is_not_sent(crossed):
    result = crossed.tasks["proj.add"].apply_async((1, 2), ignore_result=True)

    assert crossed.tasks["proj.add"].delay(1, 2).get(timeout=SECONDS) == 3
    assert result.state == "PENDING"


@both_ways
def test_tasks_wait_until_a_worker_of_the_other_side_comes(shared, client):
    app = shared.client(client)
    results = [app.tasks["proj.add"].delay(n, n) for n in range(20)]

    with shared.worker_of(OTHER[client]):
        assert [result.get(timeout=SECONDS) for result in results] == [2 * n for n in range(20)]


def test_workers_of_both_sides_empty_one_queue_and_nothing_is_lost(shared):
    count = 400
    theirs = [shared.theirs.tasks["proj.add"].delay(n, 1) for n in range(count)]
    ours = shared.ours.publish_many([shared.ours.tasks["proj.add"].s(n, 1) for n in range(count)])

    with shared.their_worker(), shared.our_worker():
        mine = [result.get(timeout=60) for result in ours]
        others = [result.get(timeout=60) for result in theirs]

    assert mine == others == [n + 1 for n in range(count)]


@pytest.mark.parametrize("countdown", [0, 1])
def test_a_task_that_retries_ends_with_its_result(crossed, countdown):
    began = time.time()
    result = crossed.tasks["proj.once_more"].delay(2, countdown)

    assert result.get(timeout=SECONDS) == 2
    assert time.time() - began >= 2 * countdown


@both_ways
def test_a_retry_goes_on_at_the_other_side(shared, client):
    """The first run is on one side, the second on the other."""
    with shared.worker_of(client, client), shared.worker_of(OTHER[client], "celery"):
        result = shared.client(client).tasks["proj.once_more"].apply_async((1, 1, client), queue="celery")

        assert result.get(timeout=SECONDS) == 1


@both_ways
@pytest.mark.parametrize("queues", [("theirs", "ours", "theirs"), ("ours", "theirs", "ours")], ids=str)
def test_a_chain_goes_from_side_to_side(shared, client, queues):
    chain = celery.chain if client == "theirs" else celeriac.chain
    add = shared.client(client).tasks["proj.add"]
    first, *later = queues
    with ExitStack() as stack:
        for side in ("theirs", "ours"):
            stack.enter_context(shared.worker_of(side, side))

        result = chain(add.s(1, 2).set(queue=first), *[add.s(10).set(queue=each) for each in later]).apply_async()

        assert result.get(timeout=SECONDS) == 23
        assert result.parent.get(timeout=SECONDS) == 13


def test_their_revoke_does_nothing_here(shared):
    """It is a broadcast of their remote control, to workers that are up; ours has none of that."""
    result = shared.theirs.tasks["proj.add"].delay(1, 1)
    shared.theirs.control.revoke(result.id)

    with shared.our_worker():
        assert result.get(timeout=SECONDS) == 2
