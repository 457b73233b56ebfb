"""JSON as Celery writes it, and what is refused, with the place and the reason."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

import pytest

from celeriac.errors import DecodeError, EncodeError
from celeriac_json import markers, register_type
from celeriac_json.plugin import serializer as declaration
from celeriac_json.serializer import JsonSerializer

UUID_1 = UUID("d9cbbf5e-9a4f-4a3a-8a60-3b9b3c9a9d0f")

ON_THE_WIRE = {
    "datetime": (datetime(2026, 11, 22, 16, 23, 27, 112690, tzinfo=UTC), "2026-11-22T16:23:27.112690+00:00"),
    "date": (date(2026, 11, 22), "2026-11-22"),
    "time": (time(16, 23, 27), "16:23:27"),
    "decimal": (Decimal("1.10"), "1.10"),
    "uuid": (UUID_1, {"hex": UUID_1.hex}),
    "bytes": (b"text", "text"),
    "base64": (b"\xff\x00", "/wA="),
}


@pytest.fixture
def serializer() -> JsonSerializer:
    return JsonSerializer()


@pytest.fixture
def own_types() -> Iterator[None]:
    """Forget afterwards what a test registers."""
    before = markers._encoders, markers._decoders
    yield
    markers._encoders, markers._decoders = before


@pytest.mark.parametrize("marker", ON_THE_WIRE)
def test_types_are_marked_as_celery_marks_them(serializer: JsonSerializer, marker: str) -> None:
    value, shown = ON_THE_WIRE[marker]

    data = serializer.dumps(value)

    assert json.loads(data) == {"__type__": marker, "__value__": shown}
    assert serializer.loads(data) == value


def test_the_body_of_a_task_is_written_compactly(serializer: JsonSerializer) -> None:
    body = ((1, 2), {}, {"callbacks": None})

    assert serializer.dumps(body) == b'[[1,2],{},{"callbacks":null}]'


def test_text_is_written_as_utf_8(serializer: JsonSerializer) -> None:
    assert serializer.dumps("Grüße 🥬") == '"Grüße 🥬"'.encode()


def test_a_body_as_another_producer_wrote_it_is_read(serializer: JsonSerializer) -> None:
    data = b' [[{"__type__": "date", "__value__": "2026-11-22T00:00:00"}], {"k": "\\u00fc"}, {}] \n'

    assert serializer.loads(data) == [[date(2026, 11, 22)], {"k": "ü"}, {}]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_read(serializer: JsonSerializer, kind: type) -> None:
    assert serializer.loads(kind(b"[1]")) == [1]


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"[-Infinity]"])
def test_what_is_no_number_is_read_from_producers_that_write_it(serializer: JsonSerializer, text: bytes) -> None:
    found = serializer.loads(text)

    assert not math.isfinite(found if isinstance(found, float) else found[0])


def test_keys_become_text_as_in_celery(serializer: JsonSerializer) -> None:
    assert serializer.loads(serializer.dumps({2: "a", None: "b", True: "c", 1.5: "d"})) == {
        "2": "a",
        "null": "b",
        "true": "c",
        "1.5": "d",
    }


def test_enumerations_of_numbers_are_numbers(serializer: JsonSerializer) -> None:
    class Size(IntEnum):
        SMALL = 1

    assert serializer.dumps([Size.SMALL]) == b"[1]"


class Endless:
    def __json__(self) -> Any:
        return [Endless()]


class Refusing:
    def __json__(self) -> Any:
        raise RuntimeError("not me")


def circle() -> list[Any]:
    one: list[Any] = []
    one.append({"again": one})
    return one


def deep() -> list[Any]:
    one: list[Any] = []
    for _ in range(100_000):
        one = [one]
    return one


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, r"^JSON: \$: nan is not a number in JSON"),
        ([[1, {"a": -math.inf}]], r"^JSON: \$\[0\]\[1\]\['a'\]: -inf is not a number"),
        ({"a": ["x\ud800"]}, r"^JSON: \$\['a'\]\[0\]: the text has a lone surrogate at 1"),
        ({"\udfff": 1}, r"^JSON: \$: key '\\udfff': the text has a lone surrogate at 0"),
        ({(1, 2): 3}, r"^JSON: \$: key \(1, 2\) is neither text nor number"),
        ({math.nan: 3}, r"^JSON: \$: key nan is not a number in JSON"),
        ([{1}], r"^JSON: \$\[0\]: values of type set cannot be written as JSON. Pass a list."),
        ([object()], r"^JSON: \$\[0\]: values of type object .* See celeriac_json.register_type."),
        ([Refusing()], r"^JSON: \$\[0\]: a value of type Refusing raised RuntimeError: not me"),
        (circle(), r"^JSON: \$\[0\]\['again'\]: it contains itself"),
        (deep(), r"^JSON: the value is nested too deeply"),
        (Endless(), r"^JSON: the value is nested too deeply"),
        ([10**5000], r"^JSON: .*4300 digits"),
        ([{"__type__": "date", "__value__": 1}], r"^JSON: \$\[0\]: a table of just __type__ and __value__"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "value",
)
def test_what_cannot_be_written_is_refused_with_its_place(serializer: JsonSerializer, value: Any, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        serializer.dumps(value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"[1] x", "more text after the value, at character 3"),
        (b"\xff", "can't decode byte 0xff"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"__type__": "nothing", "__value__": 1}', "unknown type marker 'nothing'; register it"),
        (b'{"__type__": [], "__value__": 1}', "unhashable"),
        (b'{"__type__": "date", "__value__": "today"}', "today"),
        (b"\xef\xbb\xbf[]", "char 0"),
    ],
    ids=["empty", "trailing", "no utf-8", "deep", "marker", "list as marker", "no date", "mark of byte order"],
)
def test_what_cannot_be_read_is_refused(serializer: JsonSerializer, data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        serializer.loads(data)


def test_a_larger_table_with_a_marker_is_no_marked_value(serializer: JsonSerializer) -> None:
    table = {"__type__": "date", "__value__": 1, "more": 2}

    assert serializer.loads(serializer.dumps(table)) == table


def test_text_that_mentions_the_marker_is_text(serializer: JsonSerializer) -> None:
    value = ['{"__type__":"date"}', "__type__", {"__type__": "alone"}]

    assert serializer.loads(serializer.dumps(value)) == value


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Point3(Point):
    pass


@pytest.mark.usefixtures("own_types")
def test_a_registered_type_comes_back_and_so_do_its_subclasses(serializer: JsonSerializer) -> None:
    register_type(Point, "point", lambda point: [point.x, point.y], lambda pair: Point(*pair))

    assert serializer.loads(serializer.dumps({"at": Point(1, 2)})) == {"at": Point(1, 2)}
    assert json.loads(serializer.dumps(Point3(1, 2))) == {"__type__": "point", "__value__": [1, 2]}


@pytest.mark.usefixtures("own_types")
def test_the_nearest_registered_type_wins(serializer: JsonSerializer) -> None:
    register_type(Point3, "point3", lambda _: 3, lambda _: Point3(0, 0))
    register_type(Point, "point", lambda _: 2, lambda _: Point(0, 0))

    assert json.loads(serializer.dumps(Point3(0, 0)))["__type__"] == "point3"


@pytest.mark.usefixtures("own_types")
def test_without_a_marker_the_value_is_written_bare(serializer: JsonSerializer) -> None:
    register_type(Point, None, lambda point: [point.x, point.y])

    assert serializer.dumps(Point(1, 2)) == b"[1,2]"


@pytest.mark.usefixtures("own_types")
def test_what_a_decoder_raises_is_a_decode_error(serializer: JsonSerializer) -> None:
    register_type(Point, "point", lambda point: [point.x], lambda _: 1 // 0)  # type: ignore[arg-type,return-value]

    with pytest.raises(DecodeError, match="by zero"):
        serializer.loads(serializer.dumps(Point(1, 2)))


def test_a_marker_needs_a_decoder() -> None:
    with pytest.raises(TypeError, match="a marker and a decoder, or neither"):
        register_type(Point, "point", vars)


def test_an_object_may_say_how_it_is_written(serializer: JsonSerializer) -> None:
    class Named:
        def __json__(self) -> Any:
            return {"name": date(2026, 1, 1)}

    assert serializer.loads(serializer.dumps([Named()])) == [{"name": date(2026, 1, 1)}]


def test_lazy_texts_of_django_are_written_as_text(serializer: JsonSerializer) -> None:
    promise = type("Promise", (), {"__module__": "django.utils.functional", "__str__": lambda _: "hello"})
    lazy = type("Lazy", (promise,), {})

    assert serializer.dumps([lazy()]) == b'["hello"]'


def test_offsets_of_time_zones_are_kept(serializer: JsonSerializer) -> None:
    moment = datetime(2026, 11, 22, 16, 23, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))

    assert serializer.loads(serializer.dumps(moment)).utcoffset() == timedelta(hours=-3, minutes=-30)


def test_the_declaration_names_it() -> None:
    assert declaration.load("serializer", "json") is JsonSerializer
    assert JsonSerializer.trusted


BODY = tuple[list[Any], dict[str, Any]]


def test_bytes_are_read_straight_into_a_type(serializer: JsonSerializer) -> None:
    assert serializer.reader(BODY)(b' [[1, "\xc3\xbc"], {"k": 1.5}] ') == ([1, "ü"], {"k": 1.5})


@pytest.mark.parametrize(
    "data", [b"[[1]]", b"[1, {}]", b"[[NaN], {}]", b'[[{"__type__": "bytes", "__value__": "x"}], {}]', b"[[", b"\xff"]
)
def test_what_a_type_does_not_fit_is_left_to_the_general_reader(serializer: JsonSerializer, data: bytes) -> None:
    with pytest.raises(DecodeError):
        serializer.reader(BODY)(data)


@pytest.mark.parametrize(
    "text",
    [
        "1e999",
        "-1e999",
        "18446744073709551616",
        "-0",
        "-0.0",
        "1E5",
        '"\\ud83e\\udd6c"',
        '"\\ud800"',
        '{"a":1,"a":2}',
        " [1] ",
        "[1.0, 1]",
        "\ufeff1",
    ],
)
def test_what_is_read_is_what_the_standard_library_reads(serializer: JsonSerializer, text: str) -> None:
    data = text.encode()
    expected = json.loads(data.decode("utf-8-sig")) if text[0] != "\ufeff" else None

    try:
        found = serializer.loads(data)
    except DecodeError:
        assert expected is None
    else:
        assert repr(found) == repr(expected)


def test_parts_that_were_written_apart_are_read_as_a_whole(serializer: JsonSerializer) -> None:
    parts = [1, "a,]", date(2026, 11, 22), {"k": None}]

    whole = b"[" + b",".join(map(serializer.dumps, parts)) + b"]"

    assert serializer.joins
    assert serializer.loads(whole) == parts
