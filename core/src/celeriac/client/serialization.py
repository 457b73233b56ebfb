"""Values to bytes and back, by the name or the content type of a serializer plugin; and compression."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Collection, Iterable
from typing import Any

from celeriac.errors import ConfigurationError, ContentDisallowed, DecodeError, EncodeError, nearest
from celeriac.kernel import plugins
from celeriac.spi.serializer import Serializer

__all__ = ["Codecs"]

DEFAULT_LIMIT = 128 * 1024 * 1024
"""How many bytes compressed data may become, where nobody says otherwise: bombs are refused, not unpacked."""


class Codecs:
    """The serializers in use. Each plugin is loaded when it is first named, and shared by all threads."""

    def __init__(self) -> None:
        self._serializers: dict[str, Serializer] = {}
        self._accepted: dict[tuple[str, ...], dict[str, Serializer]] = {}

    def serializer(self, name: str) -> Serializer:
        """Return the serializer of that name.

        Raises: UnknownPlugin, MissingDependency: it is not installed, or what it needs is not.
        """
        found = self._serializers.get(name)
        if found is None:
            made: Serializer = plugins.load("serializer", name)()
            found = self._serializers.setdefault(name, made)
        return found

    def dumps(self, value: Any, serializer: str) -> tuple[bytes, str, str]:
        """Return the bytes, the content type and the content encoding of a value.

        Raises: EncodeError: it cannot be written.
        """
        found = self._serializers.get(serializer) or self.serializer(serializer)
        return found.dumps(value), found.content_type, found.content_encoding

    def loads(
        self,
        data: bytes | str,
        content_type: str,
        content_encoding: str | None = None,
        accept: Collection[str] = ("json",),
        *,
        compression: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> Any:
        """Read a value of one of the serializers in `accept`, which are names or content types.

        Raises: ContentDisallowed: the content type is not accepted; nothing was read. DecodeError: broken bytes.
        """
        found = self.accepted(accept).get(content_type)
        if found is None:
            raise ContentDisallowed(content_type, self.accepted(accept))
        raw = data.encode() if isinstance(data, str) else bytes(data)
        if compression:
            raw = decompress(raw, compression, limit)
        if content_encoding and content_encoding.lower() not in ("utf-8", "utf8", "binary", "us-ascii"):
            raw = _recode(raw, content_encoding)
        return found.loads(raw)

    def accepted(self, accept: Collection[str]) -> dict[str, Serializer]:
        """Return the serializers that `accept` names, by content type."""
        key = tuple(accept)
        found = self._accepted.get(key)
        if found is None:
            found = {each.content_type: each for name in key for each in self._named(name)}
            self._accepted[key] = found
        return found

    def _named(self, name: str) -> Iterable[Serializer]:
        if "/" not in name:
            return [self.serializer(name)]
        every = [self.serializer(info.name) for info in plugins.installed("serializer") if info.error is None]
        fitting = [each for each in every if each.content_type == name]
        if not fitting:
            known = [each.content_type for each in every]
            raise ConfigurationError(f"No installed serializer has the content type {name!r}.{nearest(name, known)}")
        return fitting


def _recode(raw: bytes, encoding: str) -> bytes:
    """Return text of another encoding as UTF-8, which is what serializers read."""
    try:
        return raw.decode(encoding).encode()
    except (LookupError, UnicodeDecodeError) as error:
        raise DecodeError(f"The content encoding {encoding!r} does not fit the body ({error}).") from error


# -- compression -----------------------------------------------------------------------------------

_COMPRESSORS = {
    # Celery writes zlib's own format under the name of gzip; its readers take no other.
    "gzip": ("zlib", "application/x-gzip"),
    "zlib": ("zlib", "application/x-gzip"),
    "bzip2": ("bz2", "application/x-bz2"),
    "lzma": ("lzma", "application/x-lzma"),
}
"""Name to the module of the standard library, imported when it is first used, and the value of the header."""

_NAMES = {"application/x-gzip": "gzip", "application/x-bz2": "bzip2", "application/x-lzma": "lzma"}


def compress(data: bytes, name: str) -> tuple[bytes, str]:
    """Return the compressed data and the value of the `compression` header.

    Raises: EncodeError: no compression of that name; says the nearest.
    """
    if name not in _COMPRESSORS:
        name = _NAMES.get(name, name)
    if name not in _COMPRESSORS:
        raise EncodeError(f"No compression {name!r}.{nearest(name, _COMPRESSORS)} Known: {', '.join(_COMPRESSORS)}.")
    module, header = _COMPRESSORS[name]
    packed: bytes = importlib.import_module(module).compress(data)
    return packed, header


def decompress(data: bytes, header: str, limit: int) -> bytes:
    """Return what was compressed, if it is at most `limit` bytes.

    Raises: DecodeError: unknown or broken compression, or more than `limit` bytes.
    """
    name = _NAMES.get(header, header)
    if name not in _COMPRESSORS:
        raise DecodeError(f"The body is compressed with {header!r}. Known: {', '.join(_NAMES)}.")
    try:
        reader = _reader(name)
        out: bytes = reader.decompress(data, limit + 1)
    # lzma has an exception of its own; it derives from Exception alone.
    except Exception as error:
        raise DecodeError(f"The body is no {name} data ({error}).") from error
    if len(out) > limit:
        raise DecodeError(f"The body is more than {limit} bytes uncompressed: see `task_max_body_bytes`.")
    if not reader.eof:
        raise DecodeError(f"The {name} data of the body ends early.")
    return out


def _reader(name: str) -> Any:
    if name in ("gzip", "zlib"):
        return zlib.decompressobj(wbits=47)  # 32 + 15: either header, zlib's or gzip's
    module = importlib.import_module(_COMPRESSORS[name][0])
    return module.BZ2Decompressor() if name == "bzip2" else module.LZMADecompressor()
