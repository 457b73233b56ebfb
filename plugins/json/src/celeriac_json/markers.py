"""Values that JSON does not know, wrapped as `{"__type__": marker, "__value__": value}`.

The markers are those of Celery's wire: datetime, date, time, decimal, uuid, bytes and base64.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

__all__ = ["TYPE", "VALUE", "Unknown", "register_type", "unwrap", "wrap"]

T = TypeVar("T")

TYPE: Final = "__type__"
VALUE: Final = "__value__"

# Both are replaced, never changed, so that readers need no lock.
_encoders: dict[type[Any], tuple[str | None, Callable[[Any], Any]]] = {}
_decoders: dict[str, Callable[[Any], Any]] = {}
_registering = threading.Lock()


class Unknown(TypeError):
    """Nothing here knows this type."""


def register_type(
    cls: type[T], marker: str | None, encoder: Callable[[T], Any], decoder: Callable[[Any], T] | None = None
) -> None:
    """Teach the JSON serializer a type, its subclasses included, in this process.

    Args:
        cls: The type.
        marker: The name on the wire. With None the encoded value is written bare, and is not turned back.
        encoder: Returns something that JSON, or another registered type, can hold.
        decoder: Makes a value of what `encoder` returned; required with a marker.
    """
    global _encoders, _decoders  # noqa: PLW0603  the registry of the process, replaced as a whole
    if (marker is None) != (decoder is None):
        raise TypeError("register_type needs a marker and a decoder, or neither")
    with _registering:
        _encoders = {**_encoders, cls: (marker, encoder)}
        if marker is not None and decoder is not None:
            _decoders = {**_decoders, marker: decoder}


def wrap(value: Any) -> Any:
    """Return what to write in place of a value that JSON does not know.

    Raises: Unknown: nothing here knows it either.
    """
    transform = getattr(value, "__json__", None)
    if transform is not None:
        return transform()
    if isinstance(value, bytes):
        try:
            return {TYPE: "bytes", VALUE: value.decode("utf-8")}
        except UnicodeDecodeError:
            return {TYPE: "base64", VALUE: base64.b64encode(value).decode("ascii")}
    found = _encoder_for(type(value))
    if found is not None:
        marker, encoder = found
        return encoder(value) if marker is None else {TYPE: marker, VALUE: encoder(value)}
    if _is_lazy_text(value):
        return str(value)
    raise Unknown(f"values of type {type(value).__qualname__} cannot be written as JSON")


def unwrap(table: dict[str, Any]) -> Any:
    """Return the value that a decoded table stands for: itself, unless it is a marked one.

    Raises: ValueError: the marker is unknown. Whatever the decoder of the marker raises.
    """
    if len(table) != 2 or TYPE not in table or VALUE not in table:
        return table
    decoder = _decoders.get(table[TYPE])
    if decoder is None:
        raise ValueError(
            f"unknown type marker {table[TYPE]!r}; register it with celeriac_json.register_type where this is read"
        )
    return decoder(table[VALUE])


def _encoder_for(cls: type[Any]) -> tuple[str | None, Callable[[Any], Any]] | None:
    encoders = _encoders
    for ancestor in cls.__mro__:
        if ancestor in encoders:
            return encoders[ancestor]
    return next((found for known, found in encoders.items() if issubclass(cls, known)), None)


def _is_lazy_text(value: Any) -> bool:
    """Whether it is one of Django's lazy translations, told by name so that Django need not be here."""
    return any(
        ancestor.__name__ == "Promise" and ancestor.__module__ == "django.utils.functional"
        for ancestor in type(value).__mro__
    )


def _date(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _uuid(table: dict[str, str]) -> UUID:
    return UUID(hex=table["hex"])


register_type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
register_type(date, "date", date.isoformat, _date)
register_type(time, "time", time.isoformat, time.fromisoformat)
register_type(Decimal, "decimal", str, Decimal)
register_type(UUID, "uuid", lambda value: {"hex": value.hex}, _uuid)
_decoders["bytes"] = str.encode
_decoders["base64"] = _base64
