"""A call makes the same message here as in Celery, and each side runs what the other sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from celery_side import WRITTEN_BY_THE_TRANSPORT, KombuMessage, Sides, as_kombu, as_ours
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac.model.message import Message

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(MANY, max_examples=50)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
ids = st.uuids(version=4).map(str)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
moments = st.datetimes(datetime(2030, 1, 1), datetime(2040, 1, 1), timezones=zones)
seconds = st.integers(1, 10**6) | st.floats(0.5, 10**6)
numbers = st.integers(0, 50)

OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "countdown": seconds,
    "eta": moments | moments.map(datetime.isoformat),
    "expires": seconds | moments | moments.map(datetime.isoformat),
    "retries": numbers,
    "group_id": ids,
    "group_index": numbers,
    "time_limit": st.integers(51, 1000) | st.floats(51, 1000),
    "soft_time_limit": st.integers(1, 50) | st.floats(1, 50),
    "shadow": names,
    "headers": st.dictionaries(names.map("my-{}".format), values, max_size=3),
    "ignore_result": st.booleans(),
    "root_id": ids,
    "parent_id": ids,
    "reply_to": ids,
    "priority": st.integers(0, 9),
    "replaced_task_nesting": numbers,
    "argsrepr": names,
    "kwargsrepr": names,
}
calls = st.fixed_dictionaries({"task_id": ids}, optional=OPTIONS)
arguments = st.tuples(st.lists(values, max_size=3).map(tuple), st.dictionaries(names, values, max_size=3))
shown = st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6) | names
"""Values that both show alike in logs; in texts we escape what could forge a line, which Celery does not."""
steps = st.lists(
    st.tuples(st.lists(plain, max_size=2), st.dictionaries(names, plain, max_size=2), ids), min_size=1, max_size=3
)
links = st.fixed_dictionaries({}, optional={"link": steps, "link_error": steps, "chain": steps, "chord": steps})
COPIED_BY_CELERY = {"argsrepr", "kwargsrepr", "origin"}
"""Options that Celery, having made headers of them, also leaves among the properties, where nobody reads them."""
LOG_TEXTS = {"argsrepr", "kwargsrepr"}
"""Celery shows three levels of nested values and we six, and it shortens texts inside. They are for logs only."""


def body_of(message: Message | KombuMessage) -> Any:
    return json.loads(message.body)


def assert_alike(ours: Message, theirs: KombuMessage, but: set[str] = frozenset()) -> None:
    """Check that both are the same message: the header names in their order, and everything in it."""
    assert list(ours.headers) == list(theirs.headers)
    assert {name: value for name, value in ours.headers.items() if name not in but} == {
        name: value for name, value in theirs.headers.items() if name not in but
    }
    assert body_of(ours) == body_of(theirs)
    assert (ours.content_type, ours.content_encoding) == (theirs.content_type, theirs.content_encoding)
    assert (ours.exchange, ours.routing_key) == (
        theirs.delivery_info["exchange"],
        theirs.delivery_info["routing_key"],
    )
    assert ours.priority == theirs.properties["priority"]
    transports = {*WRITTEN_BY_THE_TRANSPORT, *COPIED_BY_CELERY, "reply_to"}
    properties = {name: value for name, value in theirs.properties.items() if name not in transports}
    assert {name: value for name, value in ours.properties.items() if name != "reply_to"} == properties


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# -- what is written -------------------------------------------------------------------------------


@MANY
@given(arguments=arguments, options=calls)
def test_a_call_makes_the_same_message_as_in_celery(sides: Sides, arguments: Any, options: dict[str, Any]):
    if "countdown" in options:
        options.pop("eta", None)

    theirs = sides.celery_message("proj.echo", *arguments, **options)
    ours = sides.message("proj.echo", *arguments, **options)

    assert_alike(ours, theirs, but={"eta", "expires", *LOG_TEXTS})
    for name in LOG_TEXTS & options.keys():
        assert ours.headers[name] == theirs.headers[name] == options[name]
    if "reply_to" in options:
        assert ours.properties["reply_to"] == theirs.properties["reply_to"]
    for name in ("eta", "expires"):
        told, expected = moment(ours.headers[name]), moment(theirs.headers[name])
        assert (told is None) == (expected is None)
        # Seconds from now are counted from two moments; and ours are always written in the app's zone.
        assert told is None or abs(told - expected) < timedelta(seconds=5)
        assert told is None or told.utcoffset() == timedelta()


@MANY
@given(args=st.lists(shown, max_size=4).map(tuple), kwargs=st.dictionaries(names, shown, max_size=4))
def test_flat_arguments_have_the_same_text_for_logs(sides: Sides, args: Any, kwargs: Any):
    theirs = sides.celery_message("proj.echo", args, kwargs, task_id="1")
    ours = sides.message("proj.echo", args, kwargs, task_id="1")

    assert_alike(ours, theirs)


@MANY
@given(steps_of=links)
def test_what_follows_a_call_is_written_alike(sides: Sides, steps_of: dict[str, Any]):
    def options(app: Any) -> dict[str, Any]:
        made = {
            option: [app.tasks["proj.echo"].signature(args, kwargs, task_id=id_) for args, kwargs, id_ in found]
            for option, found in steps_of.items()
        }
        if "chord" in made:
            made["chord"] = made["chord"][0]
        return made

    theirs = sides.celery_message("proj.echo", (1,), {}, task_id="1", **options(sides.theirs))
    ours = sides.message("proj.echo", (1,), {}, task_id="1", **options(sides.ours))

    assert_alike(ours, theirs)


@FEWER
@given(
    stamps=st.dictionaries(names.map("stamp_{}".format), numbers | st.lists(plain, max_size=3), min_size=1, max_size=3)
)
def test_stamps_are_written_alike(sides: Sides, stamps: dict[str, Any]):
    options = {"task_id": "1", "stamped_headers": list(stamps), **stamps}

    theirs = sides.celery_message("proj.echo", **options)
    ours = sides.message("proj.echo", **options)

    assert_alike(ours, theirs)


@pytest.mark.parametrize("name", ["gzip", "zlib", "bzip2", "lzma"])
def test_a_compressed_body_is_read_by_the_other_side(sides: Sides, name: str):
    theirs = sides.celery_message("proj.echo", ("x" * 100,), task_id="1", compression=name)
    ours = sides.message("proj.echo", ("x" * 100,), task_id="1", compression=name)

    assert ours.headers == theirs.headers
    assert as_kombu(ours).payload == sides.ours.codecs.loads(
        as_ours(theirs).body,
        theirs.content_type,
        theirs.content_encoding,
        compression=theirs.headers["compression"],
    )


# -- where we differ on purpose --------------------------------------------------------------------


def test_an_eta_without_a_zone_is_sent_with_the_zone_it_is_meant_in(sides: Sides):
    """Celery leaves it out, and its worker takes the moment for one in UTC, whatever zone the sender's app is in."""
    eta = datetime(2030, 1, 1, 12)

    theirs = sides.celery_message("proj.echo", eta=eta)
    ours = sides.message("proj.echo", eta=eta)

    assert theirs.headers["eta"] == "2030-01-01T12:00:00"
    assert ours.headers["eta"] == "2030-01-01T12:00:00+00:00"


def test_an_eta_in_another_zone_is_sent_in_that_of_the_app(sides: Sides):
    """So that the texts of one queue compare; the moment is the same."""
    eta = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    theirs = sides.celery_message("proj.echo", eta=eta)
    ours = sides.message("proj.echo", eta=eta)

    assert theirs.headers["eta"] == "2030-01-01T12:00:00+02:00"
    assert ours.headers["eta"] == "2030-01-01T10:00:00+00:00"
    assert moment(ours.headers["eta"]) == moment(theirs.headers["eta"]) == datetime.fromtimestamp(ours.due or 0, UTC)


def test_an_option_that_nobody_knows_becomes_a_property_only_where_that_is_said(sides: Sides):
    """Celery takes any name for a property, so that a typing error is found nowhere."""
    theirs = sides.celery_message("proj.echo", task_id="1", message_tag="x")
    ours = sides.message("proj.echo", task_id="1", properties={"message_tag": "x"})

    assert_alike(ours, theirs)
    with pytest.raises(TypeError, match="message_tag"):
        sides.message("proj.echo", message_tag="x")


def test_what_nobody_could_read_in_a_log_line_is_escaped(sides: Sides):
    """Celery writes texts as they are: a line break in an argument forges a line of its log."""
    theirs = sides.celery_message("proj.echo", ("a\nb",))
    ours = sides.message("proj.echo", ("a\nb",))

    assert theirs.headers["argsrepr"] == "('a\nb',)"
    assert ours.headers["argsrepr"] == "('a\\nb',)"


def test_when_a_message_lapses_is_a_field_of_it_until_a_transport_writes_it(sides: Sides):
    theirs = sides.celery_message("proj.echo", expires=60)
    ours = sides.message("proj.echo", expires=60)

    assert theirs.properties["expiration"] == "60000"
    assert "expiration" not in ours.properties
    assert ours.expires is not None
    assert abs(ours.expires - datetime.now(UTC).timestamp() - 60) < 5
