"""Values made fit to be shown: no password of a URL, no secret of a dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MASK", "mask"]

MASK = "**"
_USER = re.compile(r"(?P<head>[\w+.-]+://[^/@\s:]*):(?P<password>[^/\s]*)@")
_QUERY = re.compile(r"(?P<head>[?&][^=&\s]*(?:pass|token|secret|key)[^=&\s]*=)[^&\s\"']*", re.IGNORECASE)
_SECRET = re.compile(r"pass|token|secret|(^|_)key($|_)|signature|credential", re.IGNORECASE)


def mask(value: Any) -> Any:
    """Return a copy of `value` in which passwords in URLs, and items whose key sounds secret, read `**`."""
    if isinstance(value, str):
        return _QUERY.sub(rf"\g<head>{MASK}", _USER.sub(rf"\g<head>:{MASK}@", value))
    if isinstance(value, Mapping):
        return {key: MASK if _is_secret(key, item) else mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mask(item) for item in value) if type(value) in (list, tuple) else value
    return value


def _is_secret(key: Any, item: Any) -> bool:
    return isinstance(key, str) and item is not None and _SECRET.search(key) is not None
