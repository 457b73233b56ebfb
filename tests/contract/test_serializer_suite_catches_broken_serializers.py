"""Each test of the serializer contract fails a serializer that is broken in just that way."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from broken import NO_SHRINKING, assert_fails, promises_of
from hypothesis import settings

from celeriac.errors import DecodeError, EncodeError
from celeriac.spi.serializer import Serializer
from celeriac.testing.contracts.serializer import SerializerBench, SerializerContract
from celeriac.testing.harness import SerializerHarness
from celeriac_json.serializer import JsonSerializer


class Nameless(JsonSerializer):
    content_type = "json"


class WritesText(JsonSerializer):
    def dumps(self, value: Any) -> bytes:
        return super().dumps(value).decode()  # type: ignore[return-value]


class ReadsFloats(JsonSerializer):
    def loads(self, data: bytes) -> Any:
        return json.loads(data, parse_int=float)


class ForgetsTypes(JsonSerializer):
    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class DropsEmptyTables(JsonSerializer):
    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=lambda table: {key: part for key, part in table.items() if part != [None]})


class Caches(JsonSerializer):
    def __init__(self) -> None:
        self.read: dict[bytes, Any] = {}

    def loads(self, data: bytes) -> Any:
        return self.read.setdefault(data, super().loads(data))


class KeepsState(JsonSerializer):
    """Writes into a place that all threads share."""

    def dumps(self, value: Any) -> bytes:
        self.value = value
        threading.Event().wait(0.001)  # lets another thread in
        return super().dumps(self.value)


class LetsErrorsThrough(Serializer):
    """The standard library's JSON and no more."""

    content_type = "application/json"

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, default=lambda one: one.__json__()).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class WritesNull(JsonSerializer):
    def dumps(self, value: Any) -> bytes:
        try:
            return super().dumps(value)
        except EncodeError:
            return b"[null]"


class ReadsNull(JsonSerializer):
    def loads(self, data: bytes) -> Any:
        try:
            return super().loads(data)
        except DecodeError:
            return None


class CutsCircles(Serializer):
    content_type = "application/json"

    def dumps(self, value: Any) -> bytes:
        return b'[{"again":[]}]'

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class TrustsPickle(Serializer):
    content_type = "application/x-python-serialize"

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except UnicodeDecodeError as error:
            raise DecodeError(str(error)) from error


class Suite(SerializerContract):
    __test__ = False
    effort = settings(SerializerContract.effort, derandomize=True, phases=NO_SHRINKING)


DEFECTS: dict[str, list[type[Serializer]]] = {
    "it_names_its_content_type_and_encoding": [Nameless],
    "it_writes_bytes": [WritesText],
    "the_values_of_json_come_back_equal_and_of_their_type": [ReadsFloats],
    "further_examples_come_back_equal_and_of_their_type": [ForgetsTypes],
    "the_body_of_a_task_comes_back": [DropsEmptyTables],
    "nothing_is_kept_between_calls": [Caches],
    "threads_may_share_it": [KeepsState],
    "what_it_cannot_write_is_an_encode_error": [LetsErrorsThrough, WritesNull],
    "not_a_number_is_kept_or_refused": [WritesNull],
    "what_is_hard_to_write_is_kept_or_refused": [WritesNull],
    "what_contains_itself_is_kept_or_refused": [CutsCircles, LetsErrorsThrough],
    "what_is_nested_too_deeply_is_kept_or_refused": [LetsErrorsThrough],
    "hostile_bytes_are_a_decode_error": [LetsErrorsThrough, ReadsNull],
    "a_truncated_text_is_a_value_or_a_decode_error": [LetsErrorsThrough],
    "any_bytes_are_a_value_or_a_decode_error": [LetsErrorsThrough, TrustsPickle],
    "damaged_bytes_are_a_value_or_a_decode_error": [LetsErrorsThrough],
}

PARAMETERS = {"what_is_hard_to_write_is_kept_or_refused": {"value": "\ud800"}}

FAILURES = (AssertionError, pytest.fail.Exception, ValueError, RuntimeError)
"""A test that lets the serializer's own error through has failed too."""


class Module:
    def __init__(self, broken: type[Serializer]) -> None:
        self.broken = broken

    @contextmanager
    def serializer(self) -> Iterator[SerializerHarness]:
        yield SerializerHarness(make=self.broken, examples=[b"bytes"], hostile=[b"{", b"\xff"])


@pytest.mark.parametrize(("promise", "broken"), [(name, one) for name, several in DEFECTS.items() for one in several])
def test_a_broken_serializer_fails(promise: str, broken: type[Serializer]) -> None:
    bench = SerializerBench(Module(broken))

    assert_fails(Suite, promise, bench, PARAMETERS.get(promise, {}), failures=FAILURES)


def test_every_test_is_shown_to_fail_some_serializer() -> None:
    assert sorted(DEFECTS) == promises_of(SerializerContract)
