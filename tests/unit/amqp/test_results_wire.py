"""Results as messages: what Celery's programs read and write, and what only ours need."""

from __future__ import annotations

import json
import pickle

import pytest
from msgspec.structs import replace

pytest.importorskip("amqp")

from celeriac.errors import EncodeError
from celeriac.model.record import FAILURE, READY_STATES, STARTED, SUCCESS, ResultRecord
from celeriac_amqp.answers import outgoing, record_of
from celeriac_amqp.frames import Incoming, Outgoing, Properties

DOCUMENT = b'{"status":"SUCCESS","result":3,"traceback":null,"children":[],"task_id":"1"}'


def arrived(sent: Outgoing) -> Incoming:
    return Incoming(
        queue=sent.routing_key,
        exchange=sent.exchange,
        routing_key=sent.routing_key,
        redelivered=False,
        properties=sent.properties,
        headers=sent.headers,
        body=sent.body,
        tag=1,
    )


def from_celery(document, dumps=lambda document: json.dumps(document).encode(), kind="application/json"):
    properties = Properties(content_type=kind, content_encoding="utf-8", correlation_id="1", delivery_mode=1)
    return Incoming(
        queue="q", exchange="", routing_key="q", redelivered=False, properties=properties, headers={},
        body=dumps(document), tag=1,
    )  # fmt: skip


def test_a_result_is_the_document_to_the_callers_queue_under_the_id_of_the_task():
    sent = outgoing(ResultRecord(id="1", state=SUCCESS, payload=DOCUMENT, reply_to="me"), 1, 0)

    assert sent == Outgoing(
        exchange="",
        routing_key="me",
        properties=Properties(
            content_type="application/json", content_encoding="utf-8", delivery_mode=1, correlation_id="1"
        ),
        headers={},
        body=DOCUMENT,
    )


@pytest.mark.parametrize(
    "record",
    [
        ResultRecord(id="1", state=SUCCESS, payload=DOCUMENT),
        ResultRecord(id="1", state=FAILURE, payload=DOCUMENT),
        ResultRecord(id="1", state=STARTED, payload=b""),
        ResultRecord(id="1", state="MY STATE", payload=b"\xff", content_type="application/x-python-serialize"),
        ResultRecord(id="x" * 400, state=SUCCESS, payload=DOCUMENT),
        ResultRecord(id="🥬" * 100, state=SUCCESS, payload=DOCUMENT, content_encoding="utf-16"),
    ],
)
def test_every_record_comes_back_as_it_was_sent(record):
    assert record_of(arrived(outgoing(replace(record, reply_to="me"), 1, 0))) == record


@pytest.mark.parametrize("state", [*READY_STATES, "STARTED", "RETRY", "PROGRESS"])
@pytest.mark.parametrize("spread", [(",", ":"), (", ", ": ")])
def test_the_state_of_a_json_document_of_celery_is_read_from_it(state, spread):
    documents = [{"status": state, "result": "SUCCESS"}, {"result": "FAILURE", "status": state}]

    for document in documents:
        found = record_of(from_celery(document, lambda each: json.dumps(each, separators=spread).encode()))
        assert found.state == state


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("state", [*READY_STATES, "STARTED"])
def test_the_state_of_a_pickled_document_of_celery_is_read_without_unpickling_it(state, protocol):
    message = from_celery(
        {"status": state, "result": "SUCCESS", "task_id": "1"},
        lambda document: pickle.dumps(document, protocol),
        "application/x-python-serialize",
    )

    assert record_of(message).state == state


def test_a_pickled_state_of_the_users_own_is_not_ready():
    message = from_celery({"status": "PROGRESS", "result": "SUCCESS"}, pickle.dumps, "application/x-python-serialize")

    assert not record_of(message).ready


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b"{}", b'{"status": 3}', b"[" * 10_000])
def test_what_says_no_state_is_no_result(body):
    assert record_of(from_celery(None, lambda _: body)) is None


def test_what_says_no_id_or_cannot_be_read_is_no_result():
    sound = from_celery({"status": "SUCCESS"})
    nameless = from_celery({"status": "SUCCESS"})
    nameless.properties = Properties()
    broken = from_celery({"status": "SUCCESS"})
    broken.malformed = "no table"

    assert [record_of(each) is None for each in (sound, nameless, broken)] == [False, True, True]


def test_a_result_over_the_limit_is_refused_with_the_fix():
    record = ResultRecord(id="1", state=SUCCESS, payload=b"x" * 11, reply_to="me")

    with pytest.raises(EncodeError, match=r"task 1 has 11 bytes; 10 may be sent.*result_max_bytes"):
        outgoing(record, 1, 10)
    assert outgoing(record, 1, 11).body == record.payload
