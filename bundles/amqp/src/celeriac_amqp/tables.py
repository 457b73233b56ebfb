"""Field tables: message headers and arguments, as RabbitMQ writes them.

Most tables of a queue are alike: the same keys in the same order, and most values the same. So what repeats is neither
written nor read anew: `encode` remembers a table of each set of keys and writes what differs from it, and a `Reader`
compares whole runs of fields with those of the messages before.

Source: https://www.rabbitmq.com/amqp-0-9-1-errata (section 3, field types); `U` and `L` as py-amqp and other clients
write them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import compress
from operator import is_not
from struct import Struct, error
from typing import Any, Final

__all__ = ["BadTable", "Reader", "decode", "encode"]

_INT32: Final = 1 << 31
_INT64: Final = 1 << 63
_REMEMBERED_BYTES: Final = 256
_REMEMBERED_KEYS: Final = 512

_length = Struct(">I").unpack_from
_int32 = Struct(">i").unpack_from
_string = Struct(">cI").pack
_small = Struct(">ci").pack
_large = Struct(">cq").pack
_double = Struct(">cd").pack
_moment = Struct(">cQ").pack
_decimal = Struct(">cBi").pack
_NUMBERS: Final[dict[int, tuple[Callable[[bytes, int], tuple[Any, ...]], int]]] = {
    ord(kind): (Struct(">" + form).unpack_from, Struct(">" + form).size)
    for kind, form in {
        "b": "b", "B": "B", "s": "h", "U": "h", "u": "H", "I": "i", "i": "I", "l": "q", "L": "q", "f": "f", "d": "d",
    }.items()
}  # fmt: skip

_KEYS: Final[dict[bytes, str]] = {}
_LAYOUTS: Final[dict[tuple[str, ...], tuple[list[Any], list[bytes], list[bytes]]]] = {}
"""By its keys, the values of a table, each one's field, and the field's beginning up to the type.

Only values that cannot change are here, and they are compared by identity; in the place of others is `_OTHER`.
"""
_OTHER: Final = object()
_LAYOUT_KEYS: Final = 64
_POSITIONS: Final = range(_LAYOUT_KEYS)
_REMEMBERED_LAYOUTS: Final = 128


class BadTable(ValueError):
    """A table that cannot be written, or not be read."""


def encode(table: dict[str, Any]) -> bytes:
    """Return the table with its length in front. Raises: BadTable: it names the key and the fix."""
    layout = _LAYOUTS.get(tuple(table))
    if layout is None:
        return _learned(table)
    known, written, names = layout
    values, fields = list(table.values()), written.copy()
    at = 0
    try:
        for at in compress(_POSITIONS, map(is_not, values, known)):
            value = values[at]
            if value.__class__ is str:
                raw = value.encode("utf-8", "surrogatepass")
                fields[at] = b"%bS%b%b" % (names[at], len(raw).to_bytes(4, "big"), raw)
            else:
                fields[at] = names[at] + _written(value)
    except (BadTable, RecursionError, AttributeError) as problem:
        raise _unwritable(list(table)[at], problem) from None
    return _sized(fields)


def _learned(table: dict[str, Any]) -> bytes:
    """Write a table of a kind that was not seen before, and remember it if its keys may come again."""
    names = [_name(key) for key in table]
    fields = [_field(key, name, value) for name, (key, value) in zip(names, table.items(), strict=True)]
    if 0 < len(fields) <= _LAYOUT_KEYS:
        if len(_LAYOUTS) >= _REMEMBERED_LAYOUTS:
            _LAYOUTS.clear()
        known = [
            value if value.__class__ in _FIXED and len(field) <= _REMEMBERED_BYTES else _OTHER
            for value, field in zip(table.values(), fields, strict=True)
        ]
        kept = [b"" if value is _OTHER else field for value, field in zip(known, fields, strict=True)]
        _LAYOUTS[tuple(table)] = (known, kept, names)
    return _sized(fields)


def _plain(table: dict[str, Any]) -> bytes:
    """Write a table within a table: its keys may be of any number. Few calls a level, since it may have many."""
    fields = []
    for key, value in table.items():
        try:
            fields.append(_name(key) + _written(value))
        except (BadTable, RecursionError, AttributeError) as problem:
            raise _unwritable(key, problem) from None
    return _sized(fields)


def _sized(fields: list[bytes]) -> bytes:
    joined = b"".join(fields)
    return len(joined).to_bytes(4, "big") + joined


def _field(key: str, name: bytes, value: Any) -> bytes:
    try:
        return name + _written(value)
    except (BadTable, RecursionError, AttributeError) as problem:
        raise _unwritable(key, problem) from None


def _name(key: str) -> bytes:
    try:
        name = key.encode("utf-8", "surrogatepass")
        return len(name).to_bytes(1, "big") + name
    except OverflowError:
        raise BadTable(f"the header name {key!r} is longer than 255 bytes") from None
    except AttributeError as problem:
        raise _unwritable(key, problem) from None


def _unwritable(key: object, problem: Exception) -> BadTable:
    return BadTable(f"the header {key!r} cannot be written: {problem}")


_FIXED: Final = frozenset({str, bool, int, float, type(None)})


def _written(value: Any) -> bytes:  # noqa: PLR0911  one for each type
    if value is None:
        return b"V"
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return _string(b"S", len(raw)) + raw
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int):
        return _written_int(value)
    if isinstance(value, float):
        return _double(b"d", value)
    if isinstance(value, dict):
        return b"F" + _plain(value)
    if isinstance(value, (list, tuple)):
        items = b"".join([b"V" if item is None else _written(item) for item in value])
        return _string(b"A", len(items)) + items
    return _written_rare(value)


def _written_int(value: int) -> bytes:
    if -_INT32 <= value < _INT32:
        return _small(b"I", value)
    if -_INT64 <= value < _INT64:
        return _large(b"l", value)
    raise BadTable("a number of more than 64 bits; write it as a string")


def _written_rare(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return _string(b"x", len(value)) + value
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        if moment.timestamp() >= 0:
            return _moment(b"T", int(moment.timestamp()))
        raise BadTable("a moment before 1970; write it as a string")
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        number = int("".join(map(str, digits)))
        if isinstance(exponent, int) and -255 <= exponent <= 0 and number < _INT32:
            return _decimal(b"D", -exponent, -number if sign else number)
        raise BadTable("a decimal outside of 31 bits and 255 places; write it as a string")
    raise BadTable(f"{type(value).__name__} has no counterpart in AMQP; write it as a string")


def decode(data: bytes, start: int, end: int) -> dict[str, Any]:
    """Return the table whose entries lie at `data[start:end]`, its length not among them. Raises: BadTable."""
    table: dict[str, Any] = {}
    try:
        while start < end:
            start = _read_field(data, start, table)
    except (IndexError, error):
        raise BadTable("it ends in the middle of a field") from None
    except RecursionError:
        raise BadTable("it is nested too deeply") from None
    if start != end or end > len(data):
        raise BadTable("a field is longer than the table")
    return table


def _text(raw: bytes) -> str | bytes:
    """Return a string as text, or as it is when it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw


def _read_field(data: bytes, at: int, table: dict[str, Any]) -> int:
    """Put one field into the table and return where the next one begins."""
    kind_at = at + 1 + data[at]
    name = data[at + 1 : kind_at]
    key = _KEYS.get(name) or _new_key(name)
    kind = data[kind_at]
    at = kind_at + 1
    if kind == 83:  # S
        at += 4
        end: int = at + _length(data, kind_at + 1)[0]
        try:
            table[key] = data[at:end].decode()
        except UnicodeDecodeError:
            table[key] = _text(data[at:end])
        return end
    if kind == 86:  # V
        table[key] = None
        return at
    table[key], at = _read_value(data, at, kind)
    return at


def _new_key(name: bytes) -> str:
    key = name.decode("utf-8", "backslashreplace")
    if len(_KEYS) >= _REMEMBERED_KEYS:
        _KEYS.clear()
    _KEYS[name] = key
    return key


def _read_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """Return a value and where it ends. Lengths are checked by `decode`, which must end where the table does."""
    if kind == 116:  # t
        return data[at] != 0, at + 1
    if kind == 86:
        return None, at
    number = _NUMBERS.get(kind)
    if number is not None:
        return number[0](data, at)[0], at + number[1]
    sized = _SIZED.get(kind)
    if sized is not None:
        end = at + 4 + _length(data, at)[0]
        return sized(data, at + 4, end), end
    return _read_rare(data, at, kind)


def _read_array(data: bytes, at: int, end: int) -> list[Any]:
    items = []
    while at < end:
        item, at = _read_value(data, at + 1, data[at])
        items.append(item)
    if at != end:
        raise BadTable("an item is longer than its array")
    return items


def _read_rare(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == 68:  # D
        return Decimal(_int32(data, at + 1)[0]).scaleb(-data[at]), at + 5
    if kind == 84:  # T
        seconds = int.from_bytes(data[at : at + 8], "big")
        try:
            return datetime.fromtimestamp(seconds, UTC), at + 8
        except (ValueError, OverflowError, OSError):
            return seconds, at + 8
    raise BadTable(f"a field has the unknown type {bytes((kind,))!r}")


_SIZED: Final[dict[int, Callable[[bytes, int, int], Any]]] = {
    ord("S"): lambda data, start, end: _text(data[start:end]),
    ord("x"): lambda data, start, end: data[start:end],
    ord("A"): _read_array,
    ord("F"): decode,
}


class Reader:
    """Reads tables one after the other, by one thread at a time.

    1. The first table is read field by field, and remembered.
    2. The next is compared with it: adjacent fields that are equal, and whose values cannot change, become one run.
    3. From then on a run is compared and taken over as a whole; only the fields between are read.
    4. A table that does not fit is read as a first one; a field that was ever seen to differ is in no run again. Where
       tables of several shapes take turns, which only costs, some are read without all this.
    """

    __slots__ = ("_changing", "_last", "_misses", "_plain", "_steps")

    def __init__(self) -> None:
        self._steps: list[tuple[bytes, dict[str, Any], int]] = []
        self._last: dict[str, tuple[bytes, Any]] = {}
        self._changing: set[str] = set()
        self._misses = 0
        self._plain = 0

    def read(self, data: bytes, start: int, end: int) -> dict[str, Any]:
        """Return the table whose entries lie at `data[start:end]`. Raises: BadTable."""
        if self._plain:
            self._plain -= 1
            return decode(data, start, end)
        table: dict[str, Any] = {}
        at, begins, take = start, data.startswith, table.update
        try:
            for run, values, size in self._steps:
                if not size:
                    at = _read_field(data, at, table)
                elif begins(run, at):
                    take(values)
                    at += size
                else:
                    return self._learn(data, start, end)
        except (IndexError, error, BadTable, RecursionError):
            return self._learn(data, start, end)
        if at == end and end <= len(data) and at != start:
            self._misses = 0
            return table
        return self._learn(data, start, end)

    def _learn(self, data: bytes, start: int, end: int) -> dict[str, Any]:
        table = decode(data, start, end)
        self._misses += 1
        if self._misses > 4:
            self._plain = min(self._misses, 16) * 4
        seen: dict[str, tuple[bytes, Any]] = {}
        steps: list[tuple[bytes, dict[str, Any], int]] = []
        at = start
        while at < end:
            field: dict[str, Any] = {}
            after = _read_field(data, at, field)
            [(key, value)] = field.items()
            raw = data[at:after]
            at = after
            known = self._last.get(key)
            if value.__class__ not in _FIXED or (known is not None and known[0] != raw):
                self._changing.add(key)
            seen[key] = (raw, value)
            if key in self._changing:
                steps.append((b"", {}, 0))
            elif steps and steps[-1][2]:
                run, values, size = steps[-1]
                steps[-1] = (run + raw, {**values, key: value}, size + len(raw))
            else:
                steps.append((raw, {key: value}, len(raw)))
        if len(self._changing) > _REMEMBERED_KEYS:
            self._changing.clear()
        if not seen.keys() <= self._last.keys():
            steps = []  # nothing to compare with yet
        self._last, self._steps = seen, steps
        return table
