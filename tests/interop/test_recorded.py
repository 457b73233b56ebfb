"""Messages that were recorded once are read as they were meant, by every later version.

A fixture is never written anew. One that must change is a break of the protocol: say so in the change log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celeriac
from celeriac.errors import InvalidMessage
from celeriac.model.message import Message
from celeriac.model.outcome import Action
from celeriac.model.protocol import Embed, TaskHeaders, check_body, check_headers, moment_from_text
from celeriac.model.request import Request
from celeriac.runtime.executor import Executor

FIXTURES = Path(__file__).parent / "fixtures"
DIGESTS = json.loads((FIXTURES / "digests.json").read_text())
RECORDED = {name: json.loads((FIXTURES / f"{name}.json").read_text()) for name in DIGESTS}
READABLE = [name for name, recorded in RECORDED.items() if "refused" not in recorded["expect"]]
REFUSED = [name for name in RECORDED if name not in READABLE]


@pytest.fixture
def executor(celeriac_app: Celeriac) -> Iterator[Executor]:
    @celeriac_app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    @celeriac_app.task(name="proj.again", bind=True)
    def again(self: Any, *args: Any, **kwargs: Any) -> None:
        raise self.retry(countdown=60)

    made = Executor(celeriac_app, "worker@localhost")
    yield made
    made.close()


def message(name: str) -> Message:
    recorded = RECORDED[name]
    fields = {field: recorded[field] for field in ("headers", "properties", "content_type", "content_encoding")}
    return Message(body=recorded["body"].encode(), routing_key="celery", **fields)


def read(given: Message) -> tuple[TaskHeaders, Embed]:
    headers = check_headers(given.headers)
    _, _, embed = check_body(json.loads(given.body))
    return headers, embed


def test_no_fixture_has_changed():
    found = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FIXTURES.glob("*.json")
        if path.name != "digests.json"
    }

    assert found == DIGESTS


@pytest.mark.parametrize("name", [name for name in READABLE if "chord" not in RECORDED[name]["expect"]])
def test_a_recorded_message_runs_and_sends_on_what_was_meant(executor: Executor, name: str):
    expected, given = RECORDED[name]["expect"], message(name)
    headers = check_headers(given.headers)
    request = Request(
        key=1, task=headers.task, id=headers.id, message=given, queue="celery", deliveries=1, received=0.0
    )

    outcome = executor.execute(request)

    assert outcome.state == expected.get("state", "SUCCESS")
    (record,) = outcome.records
    if "result" in expected:
        assert json.loads(record.payload)["result"] == expected["result"]
    sent = [[each.headers["task"], *json.loads(each.body)[:2]] for each in outcome.followups]
    assert sent == expected.get("sends", [])
    root = headers.root_id or headers.id
    assert {each.headers["root_id"] for each in outcome.followups} <= {root}
    assert {each.headers["parent_id"] for each in outcome.followups} <= {headers.id}
    assert (headers.eta is not None and moment_from_text(headers.eta, "eta") > 0) is (
        expected.get("eta", False) or name == "retry"
    )


def test_a_recorded_member_of_a_chord_waits_for_who_can_join_it(executor: Executor):
    given = message("chord_header_member")
    headers = check_headers(given.headers)
    request = Request(
        key=1, task=headers.task, id=headers.id, message=given, queue="celery", deliveries=1, received=0.0
    )

    outcome = executor.execute(request)

    assert (outcome.action, outcome.records, outcome.followups, outcome.parts) == (Action.PARK, (), (), ())
    assert "chord of a Celery client" in outcome.reason


def test_the_chord_of_a_recorded_member_is_read():
    given = message("chord_header_member")

    headers, embed = read(given)

    assert headers.group is not None
    assert headers.group_index == 0
    assert embed.chord is not None
    assert embed.chord["task"] == RECORDED["chord_header_member"]["expect"]["chord"]
    assert embed.chord["options"]["group_id"] == headers.group


@pytest.mark.parametrize("name", REFUSED)
def test_a_recorded_message_that_cannot_be_read_is_refused_by_the_field_that_is_wrong(name: str):
    """On purpose where Celery reads it: version 1 of the protocol is as old as Celery 3."""
    given = message(name)

    with pytest.raises(InvalidMessage) as caught:
        read(given)

    assert caught.value.field == RECORDED[name]["expect"]["refused"]
