from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.serialization import dumps, loads
from amqp_messages import TABLES, TEXT, VALUES
from hypothesis import given
from hypothesis import strategies as st

from celeriac_amqp.tables import BadTable, Reader, decode, encode


def read(data: bytes) -> dict[str, Any]:
    return decode(data, 4, len(data))


def as_py_amqp_reads(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, dict):
        return {key: as_py_amqp_reads(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_py_amqp_reads(each) for each in value]
    return value


@given(TABLES)
def test_what_is_written_is_read_again(table: dict[str, Any]) -> None:
    assert read(encode(table)) == table


@given(TABLES)
def test_py_amqp_reads_what_is_written(table: dict[str, Any]) -> None:
    [got], _ = loads("F", encode(table), 0)

    assert got == as_py_amqp_reads(table)


@given(TABLES)
def test_what_py_amqp_writes_is_read(table: dict[str, Any]) -> None:
    assert read(dumps("F", [table])) == table


@given(st.lists(TABLES, max_size=4), st.lists(st.integers(0, 3), max_size=30))
def test_a_reader_reads_whatever_it_has_seen_before(tables: list[dict[str, Any]], order: list[int]) -> None:
    reader = Reader()

    for index in order:
        if index < len(tables):
            data = encode(tables[index]) + b"what follows"
            assert reader.read(data, 4, len(data) - 12) == tables[index]


@given(st.lists(st.tuples(TEXT, st.integers(0, 2), VALUES), max_size=20))
def test_a_reader_reads_tables_alike_that_differ_in_some_values(changes: list[tuple[str, int, Any]]) -> None:
    reader = Reader()

    for identity, number, other in changes:
        table = {"lang": "py", "id": identity, "retries": number, "eta": None, "other": other, "limits": [None, None]}
        data = encode(table)
        got = reader.read(data, 4, len(data))
        assert got == table
        got["limits"].append(1)  # what can change is nobody else's


@given(st.lists(VALUES, min_size=1, max_size=20))
def test_a_table_is_written_as_it_is_however_many_like_it_came_before(changes: list[Any]) -> None:
    for number, other in enumerate(changes):
        table = {"lang": "py", "number": number, "other": other, "limits": [None, None], "again": other, "stamps": {}}
        assert encode(table)[4:] == b"".join(encode({key: each})[4:] for key, each in table.items())


def test_tables_of_any_number_of_kinds_and_fields_are_written() -> None:
    for count in (1, 2, 64, 65, 300):
        for first in range(200):
            table = {f"{first}.{number}": number for number in range(count)}
            encode(table)
        assert read(encode(table)) == table
        assert read(encode(dict.fromkeys(table, "x"))) == dict.fromkeys(table, "x")


def test_a_value_that_changed_in_place_is_written_as_it_is_now() -> None:
    stamps: dict[str, Any] = {}
    table = {"stamps": stamps}
    encode(table)
    stamps["a"] = 1

    assert read(encode(table)) == {"stamps": {"a": 1}}


@pytest.mark.parametrize(("earlier", "later"), [(True, 1), (1, 1.0), (0, False), ("", b"")])
def test_values_that_are_equal_but_of_other_types_keep_theirs(earlier: object, later: object) -> None:
    encode({"key": earlier})

    assert read(encode({"key": later}))["key"].__class__ is later.__class__


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (b"t", b"\x01", True), (b"b", b"\xff", -1), (b"B", b"\xff", 255), (b"s", b"\xff\xfe", -2),
        (b"u", b"\xff\xfe", 65534), (b"U", b"\xff\xfe", -2), (b"I", b"\xff" * 4, -1),
        (b"i", b"\xff" * 4, (1 << 32) - 1),
        (b"l", b"\xff" * 8, -1), (b"L", b"\0" * 7 + b"\x05", 5), (b"f", b"\x3f\x80\0\0", 1.0),
        (b"d", b"\x3f\xf0" + bytes(6), 1.0), (b"D", b"\x02\0\0\0\x7b", Decimal("1.23")), (b"S", b"\0\0\0\x01a", "a"),
        (b"S", b"\0\0\0\x01\xff", b"\xff"), (b"x", b"\0\0\0\x01a", b"a"), (b"A", b"\0\0\0\x02t\x01", [True]),
        (b"T", bytes(8), datetime(1970, 1, 1, tzinfo=UTC)), (b"T", b"\xff" * 8, (1 << 64) - 1),
        (b"F", b"\0\0\0\x04\x01aB\x07", {"a": 7}), (b"V", b"", None),
    ],
)  # fmt: skip
def test_every_type_that_rabbitmq_sends_is_read(kind: bytes, raw: bytes, value: object) -> None:
    data = b"\x03key" + kind + raw

    assert decode(data, 0, len(data)) == {"key": value}


def test_a_field_of_an_unknown_type_is_an_error_that_names_it() -> None:
    with pytest.raises(BadTable, match="unknown type b'Z'"):
        decode(b"\x01aZ\0", 0, 4)


@given(st.binary(max_size=40))
def test_no_bytes_make_anything_but_a_table_or_an_error(data: bytes) -> None:
    for each in (decode, Reader().read):
        try:
            assert isinstance(each(data, 0, len(data)), dict)
        except BadTable:
            continue


@given(TABLES.filter(bool), st.data())
def test_a_table_that_was_cut_is_an_error(table: dict[str, Any], data: st.DataObject) -> None:
    whole = encode(table)
    cut = data.draw(st.integers(5, len(whole) - 1))

    with pytest.raises(BadTable):
        decode(whole[:cut], 4, len(whole))


def test_tables_that_are_nested_very_deeply_are_an_error() -> None:
    data = b""
    for _ in range(3000):
        data = b"\x01aF" + len(data).to_bytes(4, "big") + data

    with pytest.raises(BadTable):
        decode(data, 0, len(data))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"n": 1 << 63}, "'n'.*64 bits"),
        ({"o": object()}, "'o'.*no counterpart"),
        ({"k" * 300: 1}, "255 bytes"),
        ({"t": datetime(1960, 1, 1, tzinfo=UTC)}, "before 1970"),
        ({"d": Decimal("1e400")}, "decimal"),
        ({"deep": {"o": object()}}, "'deep'.*'o'"),
    ],
)
def test_what_cannot_be_written_is_named(table: dict[str, Any], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        encode(table)


@pytest.mark.parametrize("value", [1 << 63, object(), {"o": object()}])
def test_what_cannot_be_written_is_named_where_tables_like_it_could(value: object) -> None:
    encode({"before": 1, "wrong": 2, "after": None})

    with pytest.raises(BadTable, match="'wrong'"):
        encode({"before": 3, "wrong": value, "after": None})
