"""The envelope: written as kombu writes it, and read whoever wrote it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest

from celeriac.errors import EncodeError
from celeriac.model.message import Message
from celeriac_redis.envelope import moment_of, open_envelope, seal

# What Celery 5.6 with kombu 5.6 pushed for `add.delay(2, 3)`.
BY_CELERY = (
    b'{"body": "W1syLCAzXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbCwgImVycmJhY2tzIjogbnVsbCwgImNoYWluIjogbnVsbCwgImNob3JkIjog'
    b'bnVsbH1d", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"lang": "py", "task": "pr'
    b'oj.add", "id": "0f1d", "retries": 0, "timelimit": [null, null], "ignore_result": false, "stamps": {}}, "propertie'
    b's": {"correlation_id": "0f1d", "reply_to": "77aa", "delivery_mode": 2, "delivery_info": {"exchange": "", "routing'
    b'_key": "celery"}, "priority": 0, "body_encoding": "base64", "delivery_tag": "c1b7"}}'
)


def test_an_envelope_of_celery_is_read():
    message, deliveries = open_envelope(BY_CELERY, "celery")

    assert json.loads(message.body)[0] == [2, 3]
    assert message.headers["task"] == "proj.add"
    assert message.properties == {"correlation_id": "0f1d", "reply_to": "77aa", "delivery_mode": 2}
    assert (message.exchange, message.routing_key, message.priority, deliveries) == ("", "celery", 0, 0)
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")


def test_what_is_written_has_every_field_that_kombu_reads():
    sent = Message(body=b"\xff\x00", routing_key="q", exchange="e", priority=6, properties={"correlation_id": "1"})

    written = json.loads(seal(sent, 1.5))

    assert base64.b64decode(written["body"]) == b"\xff\x00"
    assert written["content-type"] == "application/json"
    assert written["content-encoding"] == "utf-8"
    assert written["headers"] == {}
    assert written["properties"].pop("delivery_tag")
    assert written["properties"] == {
        "correlation_id": "1",
        "delivery_info": {"exchange": "e", "routing_key": "q"},
        "priority": 6,
        "body_encoding": "base64",
    }


@pytest.mark.parametrize(
    "sent",
    [
        Message(body=b"", routing_key=""),
        Message(body=b"x", routing_key="q", due=1.25, expires=4e9, priority=255),
        Message(body=b"x", routing_key="q", properties={"correlation_id": "1", "reply_to": "2", "delivery_mode": 2}),
        Message(body=b"x", routing_key="q", properties={"expiration": "1000", "own": [1, {"a": None}]}),
        Message(body=b"x", routing_key="q", headers={"big": 2**80, "text": "naïve 🥬 \x00", "float": 1e300}),
        Message(body=b"x", routing_key="q", content_type="application/x-python-serialize", content_encoding="binary"),
    ],
)
def test_what_was_written_is_read_again(sent):
    assert open_envelope(seal(sent, 2.0), "q") == (sent, 0)


def test_the_count_in_front_is_read_and_the_moment_behind_it():
    sent = Message(body=b"x", routing_key="q")
    raw = b'{"celeriac-deliveries":3,' + seal(sent, 1795364665.25)[1:]

    assert open_envelope(raw, "q") == (sent, 3)
    assert moment_of(raw[:100]) == 1795364665.25


def test_an_envelope_of_somebody_else_has_no_moment():
    assert moment_of(BY_CELERY[:100]) is None


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b'{"body": "[[1], {}, {}]", "headers": {}, "properties": {"delivery_tag": 1}}', b"[[1], {}, {}]"),
        (b'{"body": "Zm9v", "headers": {}, "properties": {"delivery_tag": 1}}', b"Zm9v"),
        (b'{"body": "Zm9v", "headers": null, "properties": {"body_encoding": "base64"}}', b"foo"),
        (b'{"body": {"args": [1]}, "properties": {}}', b'{"args":[1]}'),
        (b'{"body": null, "properties": {}}', b""),
        (b'{"properties": {"priority": "high"}}', b""),
        (b'{"body": "x", "headers": {"weight": NaN}, "properties": {}}', b"x"),
    ],
)
def test_unusual_envelopes_that_kombu_would_take_are_read(raw, body):
    message, deliveries = open_envelope(raw, "celery")

    assert (message.body, message.routing_key, message.priority, deliveries) == (body, "celery", 0, 0)
    assert message.content_type == "application/data"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"[1, 2]",
        b"\xff\xfe",
        b"{}",
        b'{"body": "?", "properties": {"body_encoding": "base64"}, "headers": 1}',
        b'{"body": "Zg", "properties": {"body_encoding": "base64"}}',
        b'{"body": "x", "properties": {"delivery_info": 7}}',
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ],
)
def test_what_is_no_envelope_keeps_its_bytes(raw):
    message, deliveries = open_envelope(raw, "celery")

    assert (message.body, message.routing_key, message.content_type) == (raw, "celery", "application/octet-stream")
    assert deliveries == 0


def test_the_count_of_what_is_no_envelope_is_read_too():
    assert open_envelope(b'{"celeriac-deliveries":12,nonsense}', "q")[1] == 12


def test_headers_that_are_no_json_are_refused():
    with pytest.raises(EncodeError, match="headers or properties"):
        seal(Message(body=b"", routing_key="q", headers={"bad": object()}), 1.0)


FORKING = """
import json, os
from celeriac.model.message import Message
from celeriac_redis.envelope import seal

def tag():
    return json.loads(seal(Message(body=b"", routing_key="q"), 1.0))["properties"]["delivery_tag"]

tags = [tag()]
child = os.fork()
tags.append(tag())
if child:
    os.waitpid(child, 0)
print(*tags, flush=True)
"""


def test_a_forked_process_repeats_no_delivery_tag():
    shown = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True, text=True).stdout

    (first, of_child), (again, of_parent) = (line.split() for line in shown.splitlines())
    assert first == again
    assert len({first, of_child, of_parent}) == 3
