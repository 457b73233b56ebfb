from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac.model.message import Message
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import ResultRecord
from celeriac.model.request import Request
from celeriac_prefork.frames import BROKEN, HEADER, PLAIN, Broken, Frames
from celeriac_prefork.slots import FRAME_LIMIT
from celeriac_prefork.spool import Spool

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TABLE = st.dictionaries(TEXT, JSON, max_size=4)


@pytest.fixture(scope="module")
def spool() -> Iterator[Spool]:
    spool = Spool()
    yield spool
    spool.remove()


@pytest.fixture(scope="module")
def frames(spool: Spool) -> Frames:
    return Frames(spool)


def there_and_back(frames: Frames, request: Request) -> Request:
    frame = frames.request(5, request)
    number, kind, _ = HEADER.unpack_from(frame)
    assert number == 5
    assert len(frame) <= FRAME_LIMIT
    return frames.read_request(number, kind, memoryview(frame)[HEADER.size :])


def a_request(**message: Any) -> Request:
    made = Message(**{"body": b"", "routing_key": "celery", **message})
    return Request(key=3, task="t", id="i", message=made, queue="q", deliveries=2, received=1.5, time_limit=3.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=TABLE, properties=TABLE, body=st.binary(max_size=100))
def test_a_request_arrives_as_it_was_sent(
    frames: Frames, headers: dict[str, Any], properties: dict[str, Any], body: bytes
) -> None:
    request = a_request(headers=headers, properties=properties, body=body)

    assert there_and_back(frames, request) == request


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=TABLE, text=TEXT, payload=st.binary(max_size=100))
def test_an_outcome_arrives_as_it_was_sent_but_for_what_no_text_may_hold(
    frames: Frames, headers: dict[str, Any], text: str, payload: bytes
) -> None:
    outcome = Outcome(
        key=3,
        state="FAILURE",
        action=Action.DEAD,
        reason=text,
        delay=0.5,
        records=(ResultRecord(id="i", state="FAILURE", payload=payload),),
        followups=(Message(body=payload, routing_key="q", headers=headers, properties=headers),),
        error=text,
        traceback=text,
    )

    kind, data = frames.outcome(5, outcome)
    got = frames.read_outcome(5, kind, memoryview(data))

    assert (got.records, got.followups, got.action) == (outcome.records, outcome.followups, outcome.action)
    assert got.error in (text, text.encode("utf-8", "backslashreplace").decode())


def test_what_is_too_large_for_a_frame_goes_by_a_file_which_is_gone_afterwards(frames: Frames, spool: Spool) -> None:
    request = a_request(body=b"x" * 3_000_000, headers={"n": 2**100})
    outcome = Outcome(key=3, state="SUCCESS", reason="y" * 3_000_000)

    assert there_and_back(frames, request) == request
    kind, data = frames.outcome(5, outcome)
    assert not data
    assert frames.read_outcome(5, kind, memoryview(data)) == outcome
    with pytest.raises(OSError, match="request-5"):
        spool.take("request", 5)


def test_a_child_that_has_no_outcome_says_why(frames: Frames) -> None:
    with pytest.raises(Broken, match="for want of words"):
        frames.read_outcome(5, BROKEN, memoryview(b"for want of words"))


@pytest.mark.parametrize("kind", [PLAIN, 99])
def test_nonsense_is_refused(frames: Frames, kind: int) -> None:
    with pytest.raises(Exception, match=r".+"):
        frames.read_outcome(5, kind, memoryview(b"\xc1nonsense"))
