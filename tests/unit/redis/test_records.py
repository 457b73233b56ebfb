from __future__ import annotations

import json
import pickle

import pytest

from celeriac.errors import EncodeError
from celeriac.model.record import FAILURE, STARTED, SUCCESS, ResultRecord
from celeriac_redis.records import KEY_PREFIX, record_of, row_of

PICKLE = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
MSGPACK = {"content_type": "application/x-msgpack", "content_encoding": "binary"}
YAML = {"content_type": "application/x-yaml", "content_encoding": "utf-8"}


def document(state: str) -> dict[str, object]:
    return {"status": state, "result": "status", "traceback": None, "children": [], "date_done": None, "task_id": "1"}


def compact(state: str) -> bytes:
    return json.dumps(document(state), separators=(",", ":")).encode()


def msgpack(state: str) -> bytes:
    word = state.encode()
    return b"\x82\xa6status" + bytes([0xA0 | len(word)]) + word + b"\xa6result\xa6status"


LEGIBLE = [
    *[({}, write) for write in (compact, lambda state: json.dumps(document(state)).encode())],
    ({}, lambda state: json.dumps({"task_id": "1", **document(state)}).encode()),
    *[(PICKLE, lambda state, p=protocol: pickle.dumps(document(state), p)) for protocol in range(2, 6)],
    (MSGPACK, msgpack),
    (YAML, lambda state: f"children: []\nstatus: {state}\ntask_id: '1'\n".encode()),
]


@pytest.mark.parametrize("state", [SUCCESS, FAILURE, STARTED, "PROGRESS"])
@pytest.mark.parametrize(("kind", "write"), LEGIBLE)
def test_a_document_lies_as_celery_would_write_it_and_is_read_as_what_it_is(kind, write, state):
    record = ResultRecord(id="1", state=state, payload=write(state), **kind)

    row = row_of(record, KEY_PREFIX, 0)

    assert (row.key, row.payload) == ("celery-task-meta-1", record.payload)
    assert record_of("1", row.payload) == record


@pytest.mark.parametrize(
    "record",
    [
        ResultRecord(id="1", state=SUCCESS, payload=b""),
        ResultRecord(id="1", state=SUCCESS, payload=b"{}"),
        ResultRecord(id="1", state=SUCCESS, payload=b"\0celeriac {}\n"),
        ResultRecord(id="1", state=SUCCESS, payload=compact(FAILURE)),
        ResultRecord(id="1", state=SUCCESS, payload=compact(SUCCESS), content_type="application/x-other"),
        ResultRecord(id="1", state='odd "state"\n', payload=b"\xff", **PICKLE),
        ResultRecord(id="1", state=SUCCESS, payload=pickle.dumps([1, 2]), **PICKLE),
        ResultRecord(id="1", state=SUCCESS, payload=b"\x80", **MSGPACK),
        ResultRecord(id="1", state=SUCCESS, payload=b"\x81\xa1x\1", **MSGPACK),
    ],
    ids=repr,
)
def test_a_document_that_does_not_say_what_it_is_has_a_line_in_front_that_does(record):
    row = row_of(record, KEY_PREFIX, 0)

    assert row.payload.startswith(b"\0celeriac ")
    assert record_of("1", row.payload) == record


@pytest.mark.parametrize("raw", [b"", b"text", b"[1]", b'{"a": 1}', b'{"status": 1}', b"{", b"\x80\4x", b"\x82\xa1"])
def test_what_is_no_result_is_not_taken_for_one(raw):
    assert record_of("1", raw) is None


def test_a_record_knows_how_long_it_is_kept_and_what_it_may_replace():
    rows = [
        row_of(ResultRecord(id="1", state=state, payload=compact(state), expires_seconds=seconds), KEY_PREFIX, 0)
        for state, seconds in [(SUCCESS, 1.5), (FAILURE, None), (STARTED, 0.0)]
    ]

    assert [(row.px, row.rank) for row in rows] == [(1500, 2), (0, 1), (1, 0)]


def test_a_result_that_is_too_large_is_refused_with_its_task_its_size_and_the_bound():
    record = ResultRecord(id="the-task", state=SUCCESS, payload=b"x" * 11)

    with pytest.raises(EncodeError, match=r"the-task has 11 bytes.* at most 10"):
        row_of(record, KEY_PREFIX, 10)
    assert row_of(record, KEY_PREFIX, 0).rank == 2
