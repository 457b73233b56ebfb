"""The harness by which the contract suite tests this distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from celeriac.testing.harness import SerializerHarness
from celeriac_json.serializer import JsonSerializer

__all__ = ["serializer"]

EXAMPLES: tuple[object, ...] = (
    datetime(2026, 11, 22, 16, 23, 27, 112690, tzinfo=UTC),
    datetime(2026, 11, 22, 16, 23, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    datetime(2026, 11, 22),
    date(2026, 11, 22),
    time(16, 23, 27),
    Decimal("1.10"),
    UUID("d9cbbf5e-9a4f-4a3a-8a60-3b9b3c9a9d0f"),
    b"bytes",
    b"\xff\x00 no text",
    {"nested": [{"when": date(2026, 1, 1)}, [b"x"]]},
)

HOSTILE = (
    b"",
    b" ",
    b"[1] 2",
    b"{'a': 1}",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1" * 10_000,
    b'{"__type__": "no such marker", "__value__": 1}',
    b'{"__type__": ["unhashable"], "__value__": 1}',
    b'{"__type__": "datetime", "__value__": "yesterday"}',
    b'{"__type__": "uuid", "__value__": {"int": 5}}',
    b'{"__type__": "decimal", "__value__": "one"}',
    b'{"__type__": "base64", "__value__": "="}',
    b'{"__type__": "bytes", "__value__": 1}',
)


@contextmanager
def serializer() -> Iterator[SerializerHarness]:
    """Give the serializer, values beyond JSON that it must keep, and texts that it must refuse."""
    yield SerializerHarness(make=JsonSerializer, examples=EXAMPLES, hostile=HOSTILE)
