"""Records of what tasks returned: the quick way writes the same document as the long one."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac import Celeriac
from celeriac.errors import EncodeError
from celeriac.model.document import now_text, result_document
from celeriac.model.message import Message
from celeriac.model.protocol import Embed, TaskHeaders
from celeriac.model.record import SUCCESS
from celeriac.runtime.recording import Recorder


@pytest.fixture(scope="module")
def app():
    with Celeriac("unit-recording", broker="memory://unit-recording") as app:
        yield app


@pytest.fixture(scope="module")
def recorder(app):
    return Recorder(app, "unit@box")


HEADERS = {
    "alone": TaskHeaders(task="t", id="one"),
    "in a group": TaskHeaders(task="t", id="one", group="g"),
    "called by another": TaskHeaders(task="t", id="one", parent_id="p"),
    "both, with odd ids": TaskHeaders(task="t", id='"\\\n', group="ü🥬", parent_id="</script>\x7f"),
}


@pytest.mark.parametrize("value", [None, 0, True, "ü", [1, {"a": None}], {"k": [date(2026, 11, 22)]}, b"\xff"])
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_a_returned_value_is_recorded_as_in_the_general_document(app, recorder, headers, value):
    expected = result_document(
        task_id=headers.id, state=SUCCESS, result=value, group_id=headers.group, parent_id=headers.parent_id
    )

    found = json.loads(recorder.success(headers, value).payload)

    assert list(found) == list(expected)
    expected["date_done"] = found["date_done"]
    assert found == json.loads(app.codecs.dumps(expected, "json")[0])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_id_is_quoted(recorder, text):
    record = recorder.success(TaskHeaders(task="t", id=text), None)

    assert json.loads(record.payload)["task_id"] == text


def test_a_value_that_cannot_be_written_is_refused(recorder):
    with pytest.raises(EncodeError, match="cannot be written"):
        recorder.success(HEADERS["alone"], object())


def test_a_table_that_would_be_read_as_a_marked_value_is_refused(recorder):
    with pytest.raises(EncodeError, match="marked"):
        recorder.success(HEADERS["alone"], {"__type__": "bytes", "__value__": "x"})


def test_the_moment_is_that_of_the_clock_in_the_form_of_documents():
    before = datetime.now(UTC)
    texts = [now_text() for _ in range(3)]
    after = datetime.now(UTC)

    moments = [datetime.fromisoformat(text) for text in texts]
    assert [moment.isoformat(timespec="microseconds") for moment in moments] == texts
    assert before - timedelta(milliseconds=1) <= moments[0] <= moments[-1] <= after


@pytest.mark.parametrize(("replies", "expected"), [(True, "caller"), (False, "")])
def test_records_go_to_the_caller_only_where_the_store_sends_them(app, replies, expected):
    recorder = Recorder(app, "unit@box")
    recorder._replies = replies
    message = Message(body=b"", headers={}, properties={"reply_to": "caller"}, routing_key="celery")
    embed = Embed(chain=[{"task": "t", "options": {"task_id": "next"}}])
    headers = HEADERS["alone"]

    records = [
        recorder.success(headers, 1, message=message),
        recorder.success(headers, 1, [(("1", None), None)], message=message),
        recorder.started(headers, 1, message),
        recorder.exception(headers, "FAILURE", ValueError(object()), message=message),
        *recorder.later_steps(headers, embed, "FAILURE", ValueError(), message),
    ]

    assert [record.reply_to for record in records] == [expected] * 5


def test_a_record_of_a_message_that_names_no_caller_goes_to_nobody(app):
    recorder = Recorder(app, "unit@box")
    recorder._replies = True
    message = Message(body=b"", headers={}, properties={"reply_to": None}, routing_key="celery")

    assert {recorder.success(HEADERS["alone"], 1, message=each).reply_to for each in (message, None)} == {""}
