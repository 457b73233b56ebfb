"""The contract of serializers, as one class of tests. What it checks is written in `celeriac.spi.serializer`."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celeriac.errors import DecodeError, EncodeError
from celeriac.spi.serializer import Serializer
from celeriac.testing.harness import SerializerHarness, open_harness

__all__ = ["SerializerBench", "SerializerContract"]

_SETTINGS = settings(
    max_examples=200,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_WHOLE = st.integers(-(2**63), 2**63 - 1)
_LEAF = st.none() | st.booleans() | _WHOLE | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
VALUES = st.recursive(_LEAF, lambda part: st.lists(part) | st.dictionaries(_TEXT, part), max_leaves=20)
"""What every serializer must keep: the values of JSON, whole numbers of 64 bits."""

_DEEP = 100_000

_HARD: dict[str, Any] = {
    "lone surrogate": "\ud800",
    "lone surrogate inside": "a\udfffb",
    "lone surrogate as key": {"\ud800": 1},
    "65 bits": 2**64,
    "71 bits": -(2**70),
    "5000 digits": 10**5000,
    "number as key": {1: 2},
}


class SerializerBench:
    """A serializer and what its harness says of it."""

    def __init__(self, module: Any) -> None:
        self._open: AbstractContextManager[SerializerHarness] = open_harness(module, "serializer")

    def __enter__(self) -> Self:
        self.harness: SerializerHarness = self._open.__enter__()
        self.serializer: Serializer = self.harness.make()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._open.__exit__(kind, error, trace)

    def round_trip(self, value: Any) -> Any:
        """Write and read a value."""
        return self.serializer.loads(self.serializer.dumps(value))

    def read(self, data: bytes) -> None:
        """Read bytes that may be wrong: a value or a DecodeError, nothing else."""
        with suppress(DecodeError):
            self.serializer.loads(data)

    def write(self, value: Any) -> bytes | None:
        """Write what may not be writable: bytes, or None for an EncodeError; nothing else is raised."""
        with suppress(EncodeError):
            return self.serializer.dumps(value)
        return None


class Unwritable:
    """What no serializer can write: it refuses."""

    def __init__(self) -> None:
        self.lock: threading.Lock = threading.Lock()

    def __json__(self) -> Any:
        raise RuntimeError("refused")

    def __reduce__(self) -> str:
        raise RuntimeError("refused")


class SerializerContract:
    """Subclass it with `harness` set to the plugin's harness module."""

    harness: ClassVar[Any]
    """The harness module of the plugin."""

    effort: ClassVar[settings] = _SETTINGS
    """How hard Hypothesis tries; raise `max_examples` to look longer."""

    @pytest.fixture
    def bench(self) -> Iterator[SerializerBench]:
        """Give each test the serializer."""
        with SerializerBench(self.harness) as bench:
            yield bench

    def test_it_names_its_content_type_and_encoding(self, bench: SerializerBench) -> None:
        kind, _, name = bench.serializer.content_type.partition("/")

        assert kind
        assert name
        assert bench.serializer.content_encoding
        assert isinstance(bench.serializer.trusted, bool)

    def test_it_writes_bytes(self, bench: SerializerBench) -> None:
        assert type(bench.serializer.dumps([1, "a"])) is bytes

    def test_the_values_of_json_come_back_equal_and_of_their_type(self, bench: SerializerBench) -> None:
        @self.effort
        @given(VALUES)
        def check(value: Any) -> None:
            found = bench.round_trip(value)
            assert found == value
            assert repr(found) == repr(value), "equal, but of another type"

        check()

    def test_further_examples_come_back_equal_and_of_their_type(self, bench: SerializerBench) -> None:
        for value in bench.harness.examples:
            found = bench.round_trip([value])[0]
            assert found == value
            assert type(found) is type(value)

    def test_the_body_of_a_task_comes_back(self, bench: SerializerBench) -> None:
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

        args, kwargs, found = bench.round_trip(((1, "a"), {"key": [None]}, embed))

        assert (list(args), kwargs, found) == ([1, "a"], {"key": [None]}, embed)

    def test_nothing_is_kept_between_calls(self, bench: SerializerBench) -> None:
        value = {"a": [1]}
        data = bench.serializer.dumps(value)

        first = bench.serializer.loads(data)
        first["a"].append(2)

        assert bench.serializer.loads(data) == value
        assert bench.serializer.dumps(value) == data

    def test_threads_may_share_it(self, bench: SerializerBench) -> None:
        values = [{"number": number, "parts": [str(number)] * 20} for number in range(200)]

        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(bench.round_trip, values))

        assert found == values

    def test_what_it_cannot_write_is_an_encode_error(self, bench: SerializerBench) -> None:
        with pytest.raises(EncodeError, match=r"."):
            bench.serializer.dumps([Unwritable()])

    def test_not_a_number_is_kept_or_refused(self, bench: SerializerBench) -> None:
        for value in (math.nan, math.inf, -math.inf):
            data = bench.write([value])
            if data is not None:
                assert repr(bench.serializer.loads(data)[0]) == repr(value)

    @pytest.mark.parametrize("value", _HARD.values(), ids=_HARD.keys())
    def test_what_is_hard_to_write_is_kept_or_refused(self, bench: SerializerBench, value: Any) -> None:
        data = bench.write([value])

        if data is not None:
            assert bench.serializer.loads(data) in ([value], [{"1": 2}])

    def test_what_contains_itself_is_kept_or_refused(self, bench: SerializerBench) -> None:
        endless: list[Any] = []
        endless.append({"again": endless})

        data = bench.write(endless)

        if data is not None:
            found = bench.serializer.loads(data)
            assert found[0]["again"] is found

    def test_what_is_nested_too_deeply_is_kept_or_refused(self, bench: SerializerBench) -> None:
        deep: list[Any] = []
        for _ in range(_DEEP):
            deep = [deep]

        data = bench.write(deep)

        if data is not None:
            bench.read(data)

    def test_hostile_bytes_are_a_decode_error(self, bench: SerializerBench) -> None:
        for data in bench.harness.hostile:
            with pytest.raises(DecodeError, match=r"."):
                bench.serializer.loads(data)

    def test_a_truncated_text_is_a_value_or_a_decode_error(self, bench: SerializerBench) -> None:
        data = bench.serializer.dumps([{"key": ["text", 1.5, None]}, {"other": True}])

        for end in range(len(data)):
            bench.read(data[:end])

    def test_any_bytes_are_a_value_or_a_decode_error(self, bench: SerializerBench) -> None:
        if not bench.serializer.trusted:
            pytest.skip("the serializer declares that it is not to be trusted with hostile bytes")

        @self.effort
        @given(st.binary(max_size=200))
        def check(data: bytes) -> None:
            bench.read(data)

        check()

    def test_damaged_bytes_are_a_value_or_a_decode_error(self, bench: SerializerBench) -> None:
        if not bench.serializer.trusted:
            pytest.skip("the serializer declares that it is not to be trusted with hostile bytes")

        @self.effort
        @given(VALUES, st.data())
        def check(value: Any, data: st.DataObject) -> None:
            damaged = bytearray(bench.serializer.dumps(value))
            for _ in range(data.draw(st.integers(1, 3))):
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
            bench.read(bytes(damaged))

        check()
