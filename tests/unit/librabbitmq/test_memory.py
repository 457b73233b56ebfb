"""The module in C keeps nothing of what it was given, and gives back all that it took."""

from __future__ import annotations

import gc
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from amqp_peer import deliver, method

from celeriac_amqp.codec import Codec
from celeriac_amqp.frames import DELIVER, Incoming, Outgoing, Properties
from celeriac_amqp.parser import Event
from celeriac_amqp.tables import BadTable

ROUNDS = 400
UNWRITABLE = Outgoing(exchange="", routing_key="", properties=Properties(), headers={"o": object()}, body=b"")


def message(number: int) -> Outgoing:
    """Return a message with values that are new, of all kinds, and of which one is left to Python."""
    headers: dict[str, Any] = {
        "id": f"id-{number}", "key ä": "ö", "none": None, "list": [number, 1 << 40, [0.5, "x"]], "raw": b"\xff\xfe",
        "table": {"deep": {"number": number}}, f"key {number}": True, "big": "x" * 300,
    }  # fmt: skip
    if number % 10 == 0:
        headers["eta"] = datetime(2030, 1, 1, tzinfo=UTC)
    properties = Properties(content_type="json", correlation_id=f"c-{number}", priority=1, timestamp=number + 1000)
    return Outgoing(exchange="x", routing_key=f"k{number}", properties=properties, headers=headers, body=b"body" * 99)


def delivered(composed: bytes) -> bytes:
    """Return what was published to channel 5 as it is delivered."""
    return (
        method(5, DELIVER, b"\x01c" + bytes(9) + b"\x01x\x01k") + composed[8 + int.from_bytes(composed[3:7], "big") :]
    )


def a_round(native: Codec, number: int) -> list[Incoming]:
    messages = [message(number * 10 + n) for n in range(10)]
    composer = native.composer(5, 4096)
    data = b"".join(delivered(piece) for each in messages for piece in composer.compose_all([each], True))
    parser = native.parser()
    parser.ours.add(5)
    events = parser.feed(data[:-100]) + parser.feed(data[-100:])
    found = native.reader().read("q", events)
    assert [each.headers for each in found] == [each.headers for each in messages]
    with pytest.raises(BadTable):
        composer.compose_all([*messages, UNWRITABLE], True)
    [broken] = native.reader().read("q", [(*events[0][:3], events[0][3][:-3], b"")])
    assert broken.malformed
    return found


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell how large a process is")
def test_the_process_does_not_grow(native: Codec) -> None:
    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for number in range(60):
        a_round(native, number)
    before = resident()

    for number in range(ROUNDS):
        a_round(native, number)

    # A reference that is lost for each of these 4000 messages would hold more than 2 MB.
    assert resident() - before < 1 << 20


def test_everything_that_was_given_can_go(native: Codec) -> None:
    shared = [message(n) for n in range(10)]
    kept: list[object] = [
        *shared, *(each.headers for each in shared), *(each.body for each in shared), Incoming, Properties
    ]  # fmt: skip
    composer, reader = native.composer(5, 4096), native.reader()
    pieces = composer.compose_all(shared, True)
    parser = native.parser()
    parser.ours.add(5)
    events: list[Event] = [event for piece in pieces for event in parser.feed(deliver(5, b"c", 1, b"\0\0", piece))]
    kept += events
    reader.read("q", events)
    before = [sys.getrefcount(each) for each in kept]

    for _ in range(100):
        composer.compose_all(shared, True)
        parser.feed(deliver(5, b"c", 1, b"\0\0", b"body"))
        reader.read("q", events)

    grown = [
        after - count for each, count in zip(kept, before, strict=True) if (after := sys.getrefcount(each)) > count
    ]
    assert all(count < 50 for count in grown), grown
