"""The harness by which the contract suite tests this distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

from celeriac.testing.harness import SerializerHarness
from celeriac_pickle.serializer import PickleSerializer

__all__ = ["serializer"]


EXAMPLES = ((1, 2), {1, 2}, frozenset({"a"}), b"\xff", date(2026, 1, 1), Decimal("1.10"), {(1, 2): 3}, 1j, ValueError)
HOSTILE = (b"", b"\x80", b"no pickle", b"\x80\x04N", b"cno_such_module\nname\n.", b"cbuiltins\nexit\n(tR.")


@contextmanager
def serializer() -> Iterator[SerializerHarness]:
    """Give the serializer, Python values that it must keep, and bytes that it must refuse."""
    yield SerializerHarness(make=PickleSerializer, examples=EXAMPLES, hostile=HOSTILE)
