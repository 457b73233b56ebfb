"""Pickle: any value, and every failure as one of ours."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from celeriac.errors import DecodeError, EncodeError
from celeriac_pickle.plugin import serializer as declaration
from celeriac_pickle.serializer import PickleSerializer


class Calling:
    """Calls something when it is read."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def interrupt() -> None:
    raise KeyboardInterrupt


def leave() -> None:
    raise SystemExit("out")


def test_it_is_not_trusted_and_has_celerys_content_type() -> None:
    assert declaration.load("serializer", "pickle") is PickleSerializer
    assert not PickleSerializer.trusted
    assert PickleSerializer.content_type == "application/x-python-serialize"
    assert PickleSerializer.content_encoding == "binary"


def test_it_writes_protocol_4() -> None:
    assert PickleSerializer().dumps([1])[:2] == b"\x80\x04"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_reads_every_protocol(protocol: int) -> None:
    assert PickleSerializer().loads(pickle.dumps({"a": (1, 2)}, protocol)) == {"a": (1, 2)}


@pytest.mark.parametrize("value", [threading.Lock(), lambda: None, (one for one in ())])
def test_what_cannot_be_pickled_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match="Pickle: "):
        PickleSerializer().dumps([value])


def test_nesting_that_is_too_deep_is_an_encode_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(EncodeError, match="nested too deeply"):
        PickleSerializer().dumps(deep)


@pytest.mark.parametrize("call", [(leave,), (int, "no number"), (__import__, "no_such_module")])
def test_whatever_reading_raises_is_a_decode_error(call: tuple[Any, ...]) -> None:
    data = pickle.dumps(Calling(*call))

    with pytest.raises(DecodeError, match="Pickle: "):
        PickleSerializer().loads(data)


def test_a_request_to_stop_is_not_swallowed() -> None:
    data = pickle.dumps(Calling(interrupt))

    with pytest.raises(KeyboardInterrupt):
        PickleSerializer().loads(data)
