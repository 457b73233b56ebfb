from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp_messages import HEADERS, PROPERTIES
from amqp_peer import deliver, frame, method
from hypothesis import given
from hypothesis import strategies as st

from celeriac_amqp.frames import DELIVER, Composer, Outgoing, Properties, properties_of
from celeriac_amqp.parser import Event, Garbled, Parser
from celeriac_amqp.tables import BadTable, Reader


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[3:7], "big")
        assert data[7 + size] == 0xCE
        found.append((data[0], data[7 : 7 + size]))
        data = data[8 + size :]
    return found


@given(PROPERTIES, HEADERS, st.binary(max_size=50))
def test_py_amqp_reads_a_composed_message(properties: Properties, headers: dict[str, Any], body: bytes) -> None:
    message = Outgoing(exchange="x", routing_key="k", properties=properties, headers=headers, body=body)

    found = frames_of(Composer(1, 4096).compose(message, True))

    theirs = Message()
    theirs.inbound_header(found[1][1])
    theirs.body = b""
    for _, part in found[2:]:
        theirs.inbound_body(part)
    expected = {name: getattr(properties, name) for name in Properties.__struct_fields__}
    expected["application_headers"] = headers or None
    assert theirs.properties == {name: value for name, value in expected.items() if value is not None}
    assert theirs.body == body


@given(PROPERTIES, HEADERS)
def test_a_header_that_py_amqp_writes_is_read(properties: Properties, headers: dict[str, Any]) -> None:
    given_ = {name: getattr(properties, name) for name in Properties.__struct_fields__}
    theirs = Message(application_headers=headers, **given_)._serialize_properties()

    assert properties_of(bytes(12) + theirs, Reader()) == (properties, headers)


def test_a_large_body_goes_in_frames_that_the_server_takes() -> None:
    body = bytes(range(256)) * 40
    message = Outgoing(exchange="", routing_key="q", properties=Properties(), headers={}, body=body)

    parts = [payload for kind, payload in frames_of(Composer(1, 4096).compose(message, False)) if kind == 3]

    assert b"".join(parts) == body
    assert max(map(len, parts)) == 4096 - 8


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"headers": {"big": "x" * 5000}}, "headers"),
        ({"routing_key": "k" * 256}, "255"),
        ({"properties": Properties(correlation_id="k" * 256)}, "255"),
    ],
)
def test_what_the_server_would_close_the_connection_for_is_refused_before(message: dict[str, Any], words: str) -> None:
    fields = {"exchange": "", "routing_key": "q", "properties": Properties(), "headers": {}, "body": b"", **message}

    with pytest.raises(BadTable, match=words):
        Composer(1, 4096).compose(Outgoing(**fields), False)


def a_stream() -> tuple[bytes, list[Event]]:
    """Frames of two of our channels and of a foreign one, and what they mean."""
    cut = (
        method(7, DELIVER, b"args")
        + frame(2, 7, b"\0\x3c\0\0" + (6).to_bytes(8, "big") + b"\0\0")
        + frame(3, 7, b"abc")
    )
    whole = deliver(5, b"c", 1, b"\0\0", b"body")
    empty = method(5, DELIVER, b"empty") + frame(2, 5, b"\0\x3c\0\0" + bytes(8) + b"\0\0")
    data = (
        whole
        + cut
        + frame(8, 0, b"")
        + method(5, 60 << 16 | 80, b"an ack")
        + frame(3, 7, b"def")
        + frame(2, 1, b"foreign")
        + empty
        + whole
    )
    delivered = (
        5,
        DELIVER,
        b"\x01c" + (1).to_bytes(8, "big") + b"\0\0\x01q",
        b"\0\x3c\0\0" + (4).to_bytes(8, "big") + b"\0\0",
        b"body",
    )
    return data, [
        delivered,
        (5, 60 << 16 | 80, b"an ack", b"", b""),
        (7, DELIVER, b"args", b"\0\x3c\0\0" + (6).to_bytes(8, "big") + b"\0\0", b"abcdef"),
        (1, -2, b"foreign", b"", b""),
        (5, DELIVER, b"empty", b"\0\x3c\0\0" + bytes(8) + b"\0\0", b""),
        delivered,
    ]


def a_parser() -> Parser:
    parser = Parser()
    parser.ours |= {5, 7}
    return parser


def test_frames_are_put_together_byte_by_byte() -> None:
    data, expected = a_stream()
    parser = a_parser()

    assert [event for at in range(len(data)) for event in parser.feed(data[at : at + 1])] == expected


@given(st.lists(st.integers(0, len(a_stream()[0])), max_size=12))
def test_frames_are_put_together_from_any_cuts(cuts: list[int]) -> None:
    data, expected = a_stream()
    bounds = [0, *sorted(cuts), len(data)]
    parser = a_parser()

    parts = [data[start:end] for start, end in pairwise(bounds) if start < end]

    assert [event for part in parts for event in parser.feed(part)] == expected


@given(st.binary(min_size=8, max_size=60))
def test_no_bytes_make_anything_but_events_or_one_error(data: bytes) -> None:
    parser = a_parser()
    try:
        assert isinstance(parser.feed(data), list)
    except Garbled:
        return


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "management"),
        (b"AMQP\x03\x01\0\0", "another version"),
        (b"\x01\0\0\xff\xff\xff\xff\0", "not AMQP"),
        (b"SSH-2.0-OpenSSH", "not AMQP"),
        (frame(3, 5, b"nobody's"), "belongs to no message"),
        (frame(1, 5, b"\0\x3c") + frame(8, 0, b""), "not AMQP"),
        (method(5, DELIVER) + frame(2, 5, b"\0\x3c\0\0" + bytes(8)) + frame(8, 0, bytes(8)), "belongs to no message"),
        (method(5, DELIVER) + frame(2, 5, b"\0\x3c\0\0" + bytes(7) + b"\x01\0\0") + frame(3, 5, b"ab"), "longer"),
    ],
)
def test_what_is_not_amqp_is_an_error_that_says_what_it_looks_like(data: bytes, words: str) -> None:
    with pytest.raises(Garbled, match=words):
        a_parser().feed(data)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_frame_that_does_not_end_where_it_says_is_an_error(place: int) -> None:
    data = bytearray(deliver(5, b"c", 1, b"\0\0", b"body"))
    ends, at = [], 0
    while at < len(data):
        at += int.from_bytes(data[at + 3 : at + 7], "big") + 8
        ends.append(at - 1)
    data[ends[place]] = 0

    with pytest.raises(Garbled, match="not AMQP"):
        a_parser().feed(bytes(data))
