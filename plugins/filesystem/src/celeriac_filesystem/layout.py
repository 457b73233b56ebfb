"""What stands in a file: the result document, and what Celeriac has to know besides.

A JSON document gets one more key at its end, which Celery ignores and which is cut off again when it is read:

    {"status": "SUCCESS", …,"celeriac":{"state":"SUCCESS","expires":1700000000.0}}

Any other document stands behind one line that begins with `celeriac-record` and ends with a newline. A file without
either was written by Celery: its state is in the document, and Celery's own cleaning drops it.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from celeriac.model.record import ResultRecord

__all__ = ["Stored", "from_bytes", "to_bytes"]

_JSON: Final = "application/json"
_FOOT: Final = b',"celeriac":'
_HEAD: Final = b"celeriac-record "


class _About(Struct, omit_defaults=True):
    state: str
    expires: float | None = None
    content_type: str = _JSON
    content_encoding: str = "utf-8"


class _Document(Struct):
    status: str


class Stored(Struct, frozen=True):
    """A record as it was read. `expires` is seconds since 1970; `own` is False for a file of Celery's."""

    record: ResultRecord
    expires: float | None
    own: bool = True


def to_bytes(record: ResultRecord, expires: float | None) -> bytes:
    """Return the content of the record's file."""
    about = msgspec.json.encode(
        _About(record.state, expires, content_type=record.content_type, content_encoding=record.content_encoding)
    )
    document = record.payload
    is_table = record.content_type == _JSON and document[:1] == b"{" and document[-1:] == b"}" and len(document) > 2
    if is_table:
        return document[:-1] + _FOOT + about + b"}"
    return _HEAD + about + b"\n" + document


def from_bytes(id_: str, data: bytes) -> Stored | None:
    """Return what stands in the file of `id_`; None if it is no record."""
    try:
        about, document, own = _take_apart(data)
    except (msgspec.DecodeError, ValueError):
        return None
    record = ResultRecord(
        id=id_,
        state=about.state,
        payload=document,
        content_type=about.content_type,
        content_encoding=about.content_encoding,
    )
    return Stored(record, about.expires, own)


def _take_apart(data: bytes) -> tuple[_About, bytes, bool]:
    if data.startswith(_HEAD):
        line, _, document = data.partition(b"\n")
        return msgspec.json.decode(line[len(_HEAD) :], type=_About), document, True
    # Inside a text the quotes would be escaped, so the last one found is ours.
    document, foot, about = data.rpartition(_FOOT)
    if foot:
        return msgspec.json.decode(about[:-1], type=_About), document + b"}", True
    return _About(msgspec.json.decode(data, type=_Document).status), data, False
