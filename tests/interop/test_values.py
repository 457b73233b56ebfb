"""JSON here and in kombu: each reads what the other wrote, type markers included."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery_side import kombu_dumps, kombu_loads
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.errors import EncodeError
from celeriac_json.serializer import JsonSerializer

JSON = JsonSerializer()
MANY = settings(max_examples=300, deadline=None)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
offsets = st.timezones() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
fixed = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
marked = (
    st.datetimes()
    | st.datetimes(timezones=offsets)
    | st.dates()
    | st.times()
    | st.times(timezones=fixed)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=20)
)
values = st.recursive(
    plain | marked, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=20
)

EXAMPLES = [
    (datetime(2026, 11, 22, 16, 23, 27, 112690, tzinfo=UTC), "datetime", "2026-11-22T16:23:27.112690+00:00"),
    (datetime(2026, 11, 22), "datetime", "2026-11-22T00:00:00"),
    (date(2026, 11, 22), "date", "2026-11-22"),
    (time(16, 23, 27, 5), "time", "16:23:27.000005"),
    (time(16, 23, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), "time", "16:23:00-03:30"),
    (Decimal("1.10"), "decimal", "1.10"),
    (Decimal("-Infinity"), "decimal", "-Infinity"),
    (UUID("d9cbbf5e-9a4f-4a3a-8a60-3b9b3c9a9d0f"), "uuid", {"hex": "d9cbbf5e9a4f4a3a8a603b9b3c9a9d0f"}),
    ("é".encode(), "bytes", "é"),
    (b"\xff\x00", "base64", "/wA="),
]


@MANY
@given(value=values)
def test_both_write_the_same_and_each_reads_the_other(value: Any):
    ours, theirs = JSON.dumps(value), kombu_dumps(value).encode()

    assert json.loads(ours) == json.loads(theirs)
    assert JSON.loads(theirs) == kombu_loads(ours) == JSON.loads(ours) == kombu_loads(theirs)


@pytest.mark.parametrize(("value", "marker", "written"), EXAMPLES, ids=lambda value: str(value)[:20])
def test_a_marked_type_is_written_and_read_alike(value: Any, marker: str, written: Any):
    expected = {"__type__": marker, "__value__": written}

    assert json.loads(JSON.dumps(value)) == json.loads(kombu_dumps(value)) == expected
    for found in (JSON.loads(kombu_dumps(value).encode()), kombu_loads(JSON.dumps(value))):
        assert (type(found), found) == (type(value), value)


def test_an_object_that_writes_itself_is_written_alike():
    class Own:
        def __json__(self) -> Any:
            return {"at": date(2026, 1, 1)}

    assert json.loads(JSON.dumps([Own()])) == json.loads(kombu_dumps([Own()]))


def test_keys_that_are_no_texts_become_texts_alike():
    value = {3: "a", 2.5: "b", True: "c", None: "d"}

    assert json.loads(JSON.dumps(value)) == json.loads(kombu_dumps(value))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_in_json_is_read_from_celery_and_never_written(number: float):
    """On purpose: other languages' readers refuse the whole message."""
    assert repr(JSON.loads(kombu_dumps([number]).encode())) == repr([number])
    with pytest.raises(EncodeError, match="not a number in JSON"):
        JSON.dumps([number])


def test_half_a_character_is_read_from_celery_and_never_written():
    """On purpose: a lone surrogate is no UTF-8, and stores refuse it."""
    assert JSON.loads(kombu_dumps(["\ud800"]).encode()) == ["\ud800"]
    with pytest.raises(EncodeError, match="surrogate"):
        JSON.dumps(["\ud800"])


def test_a_table_that_would_be_read_as_a_marked_value_is_refused_when_it_is_written():
    """On purpose: Celery writes it, and its reader fails or returns something else."""
    hazard = {"__type__": "mine", "__value__": 1}

    with pytest.raises(ValueError, match="Unsupported type"):
        kombu_loads(kombu_dumps(hazard))
    with pytest.raises(EncodeError, match="marked value"):
        JSON.dumps(hazard)
