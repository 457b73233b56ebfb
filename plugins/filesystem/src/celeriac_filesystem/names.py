"""File names for task ids: Celery's where an id is plain, and never outside the folder."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote

__all__ = ["PREFIX", "TEMPORARY", "file_name"]

PREFIX: Final = "celery-task-meta-"
TEMPORARY: Final = ".celeriac-temporary-"

_LONGEST: Final = 240
"""Most file systems take 255 bytes."""

_UPPER: Final = re.compile("[A-Z]")


def file_name(id_: str, *, folds_case: bool = False) -> str:
    """Return the name of the file of `id_`: each id has its own, and it is a plain name without a separator.

    Whatever is not a letter, digit, dot, dash or underscore of ASCII is written as %XX; so are capitals where the
    file system takes `a` and `A` for one name. A name that would be too long is replaced by a hash of the id.
    """
    data = id_.encode("utf-8", "surrogatepass")
    name = quote(data, safe="").replace("~", "%7E")
    if folds_case:
        name = _UPPER.sub(lambda found: f"%{ord(found.group()):02x}", name)
    if len(PREFIX) + len(name) > _LONGEST:
        name = "%sha256-" + hashlib.sha256(data).hexdigest()
    return PREFIX + name
