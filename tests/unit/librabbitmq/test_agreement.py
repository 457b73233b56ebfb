"""Both codecs give the same for every input: what they write, what they read, and what they refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from amqp_messages import PROPERTIES, TABLES, TEXT, VALUES
from amqp_peer import deliver, frame, method
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from celeriac_amqp.codec import PYTHON, Codec, Parses
from celeriac_amqp.frames import DELIVER, PIECE_BYTES, RETURN, Composer, Outgoing, Properties
from celeriac_amqp.parser import Event, Garbled
from celeriac_amqp.tables import BadTable

AWKWARD = (
    st.binary(max_size=9)
    | st.binary(max_size=9).map(bytearray)
    | st.text(max_size=5)  # with halves of surrogate pairs
    | st.integers()
    | st.floats()
    | st.lists(st.binary(max_size=3) | st.booleans(), max_size=3).map(tuple)
    | st.sampled_from(
        [object(), 1j, datetime(1950, 1, 1, tzinfo=UTC), Decimal("1e99"), "x" * 300, {"k" * 256: 1}, {1: 2}]
    )
)
ANY_HEADERS = TABLES | st.dictionaries(TEXT | st.sampled_from(["k" * 255, "k" * 256]), VALUES | AWKWARD, max_size=5)
ANY_PROPERTIES = PROPERTIES | st.sampled_from(
    [Properties(priority=256), Properties(delivery_mode=-1), Properties(timestamp=1 << 64), Properties(type="x" * 255),
     Properties(app_id="x" * 256), Properties(user_id="\ud800"), Properties(timestamp=True, priority=True)]
)  # fmt: skip
MESSAGES = st.builds(
    Outgoing, exchange=st.text(max_size=5) | st.just("x" * 256), routing_key=st.text(max_size=5) | st.just("x" * 255),
    properties=ANY_PROPERTIES, headers=ANY_HEADERS, body=st.binary(max_size=60) | st.just(bytes(700)),
)  # fmt: skip
both = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def outcome(function: Callable[[], Any]) -> str:
    """Return what comes of a call as text, in which True is not 1 and a number that is none is itself."""
    try:
        return repr(function())
    except Exception as error:  # noqa: BLE001  whatever it is, the other must raise it too
        return f"{type(error).__name__}: {error}"


@both
@given(st.lists(MESSAGES, max_size=4), st.booleans(), st.sampled_from([0, 64, 300, 4096]))
def test_both_write_the_same(native: Codec, messages: list[Outgoing], mandatory: bool, frame_max: int) -> None:
    written = [
        outcome(lambda codec=codec: codec.composer(7, frame_max).compose_all(messages, mandatory))
        for codec in (PYTHON, native)
    ]

    assert written[0] == written[1]


def test_a_message_that_cannot_be_written_is_refused_with_the_same_words(native: Codec) -> None:
    good = Outgoing(exchange="", routing_key="q", properties=Properties(), headers={}, body=b"")
    bad = Outgoing(exchange="", routing_key="q", properties=Properties(), headers={"o": object()}, body=b"")

    with pytest.raises(BadTable, match=r"'o'.*no counterpart"):
        native.composer(1, 4096).compose_all([good, bad], False)


def test_many_messages_come_in_pieces_of_the_same_size(native: Codec) -> None:
    messages = [
        Outgoing(exchange="", routing_key="q", properties=Properties(), headers={"n": n}, body=bytes(300_000))
        for n in range(9)
    ]

    pieces = native.composer(1, 131072).compose_all(messages, True)

    assert pieces == PYTHON.composer(1, 131072).compose_all(messages, True)
    assert len(pieces) == 3
    assert all(len(piece) >= PIECE_BYTES for piece in pieces[:-1])


def a_head(message: Outgoing) -> bytes:
    """Return what the header frame of a message carries."""
    data = Composer(1, 0).compose(message, False)
    start = 8 + int.from_bytes(data[3:7], "big")
    return data[start + 7 : start + 7 + int.from_bytes(data[start + 3 : start + 7], "big")]


def a_delivery(head: bytes, exchange: bytes = b"x", key: bytes = b"key") -> Event:
    arguments = b"\x01c" + (5).to_bytes(8, "big") + b"\x01" + bytes((len(exchange),)) + exchange
    return (5, DELIVER, arguments + bytes((len(key),)) + key, head, b"body")


def read_by_both(native: Codec, events: list[Event]) -> tuple[str, str]:
    first, second = (outcome(lambda codec=codec: codec.reader().read("q", events)) for codec in (PYTHON, native))
    return first, second


@both
@given(st.lists(st.tuples(PROPERTIES, TABLES), max_size=4), st.binary(max_size=9), st.binary(max_size=9))
def test_both_read_the_same(
    native: Codec, given_: list[tuple[Properties, dict[str, Any]]], exchange: bytes, key: bytes
) -> None:
    heads = [
        a_head(Outgoing(exchange="", routing_key="", properties=properties, headers=headers, body=b""))
        for properties, headers in given_
    ]

    first, second = read_by_both(native, [a_delivery(head, exchange, key) for head in heads])

    assert first == second


@both
@given(PROPERTIES, TABLES, st.data())
def test_both_read_the_same_in_heads_that_are_damaged(
    native: Codec, properties: Properties, headers: dict[str, Any], data: st.DataObject
) -> None:
    head = bytearray(a_head(Outgoing(exchange="", routing_key="", properties=properties, headers=headers, body=b"")))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(head) - 1, 0)))
        head[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    first, second = read_by_both(native, [a_delivery(bytes(head))])

    assert first == second


@both
@given(st.binary(max_size=60), st.sampled_from([0x2000, 0xA000, 0x2004, 0xFFFC, 0x2001, 0]))
def test_both_read_the_same_in_any_bytes(native: Codec, raw: bytes, flags: int) -> None:
    table = len(raw).to_bytes(4, "big") + raw

    for content in (raw, table):
        first, second = read_by_both(native, [a_delivery(bytes(12) + flags.to_bytes(2, "big") + content)])
        assert first == second


@both
@given(st.binary(max_size=30))
def test_both_say_the_same_of_arguments_that_are_damaged(native: Codec, arguments: bytes) -> None:
    first, second = read_by_both(native, [(5, DELIVER, arguments, bytes(14), b"")])

    assert first == second


KINDS = b"tbBsUuIilLfdDSxAFTVZ"


@both
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=12), st.sampled_from([0, 0, 1, -1])), max_size=4))
def test_both_read_the_same_in_tables_whose_lengths_may_lie(
    native: Codec, fields: list[tuple[int, bytes, int]]
) -> None:
    table = b""
    for kind, raw, lie in fields:
        length = max(len(raw) + lie, 0).to_bytes(4, "big") if kind in b"SxAF" else b""
        table += b"\x01k" + bytes((kind,)) + length + raw
    for lie in (0, 1, -1):
        size = max(len(table) + lie, 0).to_bytes(4, "big")

        first, second = read_by_both(native, [a_delivery(bytes(12) + b"\x20\0" + size + table)])

        assert first == second


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 34, 100, 101, 150])
@pytest.mark.parametrize("kind", [dict, list])
def test_both_read_and_write_what_is_nested(native: Codec, depth: int, kind: type) -> None:
    value: Any = "inside"
    for _ in range(depth):
        value = {"k": value} if kind is dict else [value]
    message = Outgoing(exchange="", routing_key="", properties=Properties(), headers={"deep": value}, body=b"")

    pieces = native.composer(1, 0).compose_all([message], False)
    first, second = read_by_both(native, [a_delivery(a_head(message))])

    assert pieces == PYTHON.composer(1, 0).compose_all([message], False)
    assert first == second


def test_tables_nested_as_deeply_as_a_frame_can_hold_do_not_exhaust_a_small_stack(native: Codec) -> None:
    arrays = b""
    while len(arrays) < 120_000:
        arrays = b"A" + len(arrays).to_bytes(4, "big") + arrays if len(arrays) < 4000 else arrays * 2
    heads = []
    for size in (4000, 4060, 8000, len(arrays)):
        nested = b""
        for _ in range(size // 5):
            nested = b"A" + min(size, len(nested)).to_bytes(4, "big") + nested if len(nested) < 5000 else nested
        field = b"\x01k" + nested
        heads.append(bytes(12) + b"\x20\0" + len(field).to_bytes(4, "big") + field)
    found: list[Any] = []

    def read() -> None:
        found.extend(native.reader().read("q", [a_delivery(head) for head in heads]))

    before = threading.stack_size(512 << 10)
    try:
        thread = threading.Thread(target=read)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()

    assert len(found) == len(heads)


def fed(parser: Parses, parts: list[bytes]) -> list[Any]:
    """Return what a parser of channels 5 and 7 gives for each part, up to an error."""
    parser.ours.update({5, 7})
    parser.frame_max = 200
    given_: list[Any] = []
    for part in parts:
        try:
            given_ += parser.feed(part)
        except Garbled as error:
            return [*given_, str(error)]
    return given_


def in_parts(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(bounds) if start < end]


CHANNEL = st.sampled_from([5, 5, 5, 7, 1])
HEAD = st.tuples(st.sampled_from([0, 4, 4, 9, 250]), st.integers(0, 4)).map(
    lambda given_: b"\0\x3c\0\0" + given_[0].to_bytes(8, "big") + bytes(given_[1])
)
FRAMES = st.one_of(
    st.tuples(CHANNEL, st.binary(max_size=12)).map(lambda g: deliver(g[0], b"c", 1, b"\0\0", g[1])),
    st.tuples(CHANNEL, st.sampled_from([DELIVER, RETURN, 60 << 16 | 80])).map(lambda g: method(g[0], g[1], b"args")),
    st.tuples(CHANNEL, HEAD).map(lambda g: frame(2, g[0], g[1])),
    st.tuples(CHANNEL, st.binary(min_size=4, max_size=4)).map(lambda g: frame(3, g[0], g[1])),
    st.tuples(CHANNEL, st.binary(max_size=250)).map(lambda g: frame(3, g[0], g[1])),
    st.tuples(st.sampled_from([1, 2, 3, 4, 8]), CHANNEL, st.binary(max_size=15)).map(lambda g: frame(*g)),
    CHANNEL.map(
        lambda c: method(c, DELIVER, b"") + frame(2, c, b"\0\x3c\0\0" + bytes(7) + b"\x06\0\0") + frame(3, c, b"a")
    ),
)


@both
@given(st.lists(FRAMES, max_size=7).map(b"".join), st.lists(st.integers(0, 1 << 16), max_size=9))
def test_both_find_the_same_frames_in_any_cuts(native: Codec, data: bytes, cuts: list[int]) -> None:
    parts = in_parts(data, cuts)

    assert fed(native.parser(), parts) == fed(PYTHON.parser(), parts)


@both
@given(st.lists(FRAMES, min_size=1, max_size=5).map(b"".join), st.lists(st.integers(0, 1 << 16), max_size=5), st.data())
def test_both_find_the_same_frames_in_damaged_bytes(
    native: Codec, whole: bytes, cuts: list[int], data: st.DataObject
) -> None:
    raw = bytearray(whole)
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assume(raw)
    parts = in_parts(bytes(raw), cuts)

    assert fed(native.parser(), parts) == fed(PYTHON.parser(), parts)


def test_frames_are_found_byte_by_byte(native: Codec) -> None:
    data = deliver(5, b"c", 1, b"\0\0", b"body") * 3 + frame(8, 0, b"") + method(7, 60 << 16 | 80, b"an ack")
    parts = [data[at : at + 1] for at in range(len(data))]

    found = fed(native.parser(), parts)

    assert len(found) == 4
    assert found == fed(PYTHON.parser(), parts)


def test_a_body_in_many_frames_is_put_together(native: Codec) -> None:
    body = bytes(range(256)) * 1000
    message = Outgoing(exchange="", routing_key="q", properties=Properties(), headers={}, body=body)
    [composed] = native.composer(5, 4096).compose_all([message], False)
    content = composed[8 + int.from_bytes(composed[3:7], "big") :]
    parser = native.parser()
    parser.ours.add(5)

    events = parser.feed(method(5, DELIVER, b"args") + content)

    assert [event[4] for event in events] == [body]


def test_a_channel_that_was_forgotten_is_foreign(native: Codec) -> None:
    parser = native.parser()
    parser.ours.add(5)
    parser.forget(5)

    assert parser.feed(method(5, DELIVER, b"args")) == [(5, -1, b"\0\x3c\0\x3cargs", b"", b"")]
