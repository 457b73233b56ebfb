"""JSON as Celery writes and reads it.

Written by the standard library's C code, which asks about each type it does not know. Read by msgspec, in half of the
time; what that refuses (NaN, a lone surrogate, a number beyond floats, broken text) the standard library is asked
about, which reads more and tells better what is wrong. What both read they read alike.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec

from celeriac.errors import DecodeError, EncodeError
from celeriac.spi.serializer import Serializer
from celeriac_json.faults import fault_in, marked_by_hand
from celeriac_json.markers import TYPE, unwrap, wrap

__all__ = ["JsonSerializer"]

T = TypeVar("T")

_MARK: Final = f'"{TYPE}"'
_MARK_BYTES: Final = _MARK.encode()


def _make_write() -> Callable[[Any], str]:
    """Return the function that writes a value as text.

    `JSONEncoder.encode` makes a new C encoder for every call, which is half of its time for a small body; one made
    once serves for all. Without a table of markers it has no state. It finds no circle, but a circle ends in a
    RecursionError, which is as good. Where the C code is missing (PyPy) the documented way is taken.
    """
    encoder = json.JSONEncoder(
        ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=wrap
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    text = getattr(json.encoder, "c_encode_basestring", None)
    if make is None or text is None:
        return encoder.encode
    chunks = make(None, wrap, text, None, ":", ",", False, False, False)
    join = "".join
    return lambda value: join(chunks(value, 0))


_write: Final = _make_write()
_read: Final = msgspec.json.Decoder().decode
_plain: Final = json.JSONDecoder()
_marked: Final = json.JSONDecoder(object_hook=unwrap)


class JsonSerializer(Serializer):
    """JSON in UTF-8.

    Not written, though Celery does: NaN and the infinities, which are no JSON, and lone surrogates, which are no
    characters. Both are read, since Celery's producers write them. Tuples are read as lists, keys as texts.
    """

    content_type = "application/json"
    joins = True

    def reader(self, kind: type[T]) -> Callable[[bytes], T]:
        read = msgspec.json.Decoder(kind).decode

        def typed(data: bytes) -> T:
            if _MARK_BYTES in data:
                raise DecodeError("JSON: marked values are read one by one.")
            try:
                return read(data)
            except Exception as error:  # whatever it is, `loads` tells of it
                raise DecodeError(f"JSON: {error}.") from error

        return typed

    def dumps(self, value: Any) -> bytes:
        try:
            text = _write(value)
            data = text.encode("utf-8")
        except RecursionError as error:
            raise EncodeError(f"JSON: {fault_in(value) or 'the value is nested too deeply'}.") from error
        except Exception as error:  # what __json__ and registered encoders raise is anybody's choice
            raise EncodeError(f"JSON: {fault_in(value) or error}") from error
        if _MARK in text:
            mistaken = marked_by_hand(value)
            if mistaken is not None:
                raise EncodeError(f"JSON: {mistaken}")
        return data

    def loads(self, data: bytes) -> Any:
        # Nobody escapes an underscore, so a text without the mark holds no marked value.
        if _MARK_BYTES not in bytes(data):
            with suppress(Exception):
                return _read(data)
        try:
            text = str(data, "utf-8")
            decoder = _marked if _MARK in text else _plain
            if text[:1] in _BLANK:
                return decoder.decode(text)
            value, end = decoder.raw_decode(text)
            if end != len(text) and text[end:].strip(_BLANK):
                raise ValueError(f"more text after the value, at character {end}")  # noqa: TRY301  mapped with the rest
        except (RecursionError, MemoryError) as error:
            raise DecodeError("JSON: the text is nested too deeply or too large.") from error
        except Exception as error:  # what registered decoders raise is anybody's choice
            raise DecodeError(f"JSON: {error}.") from error
        return value


_BLANK: Final = " \t\n\r"
