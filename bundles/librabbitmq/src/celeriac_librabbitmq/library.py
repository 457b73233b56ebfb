"""Opens rabbitmq-c, and says what to install where it is not.

The module in C declares the library's structs itself, for its binary interface 4, so the library is asked for by that
number, and is tried on one message before it is relied on. `CELERIAC_LIBRABBITMQ` names its file where it is elsewhere.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import Final, NoReturn

from celeriac_amqp.frames import DELIVER, Composer, Incoming, Outgoing, Properties

__all__ = ["open_codec"]

_PLACES: Final = {
    "darwin": (
        "librabbitmq.4.dylib",
        "/opt/homebrew/lib/librabbitmq.4.dylib",
        "/usr/local/lib/librabbitmq.4.dylib",
        "/opt/local/lib/librabbitmq.4.dylib",
    ),
}
_USUAL: Final = ("librabbitmq.so.4",)
_PACKAGES: Final = (
    "Install it (Debian, Ubuntu: apt install librabbitmq4; Fedora: dnf install librabbitmq; Alpine: apk add "
    "rabbitmq-c; Arch: pacman -S librabbitmq-c; Homebrew: brew install rabbitmq-c), or name its file in the variable "
    "CELERIAC_LIBRABBITMQ"
)


@functools.cache
def open_codec() -> ModuleType:
    """Return the module in C, with the library open.

    Raises: ImportError: one of the two is missing; it says which, and how to get it.
    """
    try:
        from celeriac_librabbitmq import native  # noqa: PLC0415  it need not be there
    except ImportError as error:
        raise ImportError(
            f"celeriac-librabbitmq was installed without its module in C ({error}). Install a C compiler and Python's "
            "headers (Debian, Ubuntu: apt install gcc python3-dev; Fedora: dnf install gcc python3-devel; macOS: "
            "xcode-select --install), then run: pip install --force-reinstall --no-cache-dir --no-deps "
            "celeriac-librabbitmq"
        ) from error
    problems = []
    named = os.environ.get("CELERIAC_LIBRABBITMQ")
    for place in (named,) if named else _PLACES.get(sys.platform, _USUAL):
        try:
            version = native.open_library(place)
        except OSError as error:
            problems.append(str(error))
            continue
        _try(native, place, version)
        return native
    raise ImportError(f"the C library rabbitmq-c is not installed ({problems[0]}). {_PACKAGES}")


def _try(codec: ModuleType, place: str, version: str) -> None:
    """Have the library write and read a message of every common type. Raises: ImportError: it is not as it is known."""
    headers = {"text": "ä", "number": 1, "none": None, "list": [1 << 40, 0.5, True], "table": {"raw": b"\xff"}}
    properties = Properties(content_type="a", priority=1, correlation_id="b", timestamp=2, cluster_id="c")
    message = Outgoing(exchange="x", routing_key="k", properties=properties, headers=headers, body=b"")
    written = Composer(1, 4096).compose(message, True)
    content = written[8 + int.from_bytes(written[3:7], "big") :]
    delivery = (1, DELIVER, b"\x01c" + bytes(9) + b"\x01x\x01k", content[7:-1], b"")
    with suppress(_NotDone):
        [piece] = codec.compose([message], True, 1, 4088, 1, _not_done)
        [read] = codec.read("q", [delivery], Incoming, Properties, _not_done)
        if piece == written and (read.properties, read.headers) == (properties, headers):
            return
    raise ImportError(f"{place} (rabbitmq-c {version}) does not read or write messages as the releases that are known")


class _NotDone(Exception):
    """The module in C leaves to Python what it should do itself."""


def _not_done(*_: object) -> NoReturn:
    raise _NotDone
