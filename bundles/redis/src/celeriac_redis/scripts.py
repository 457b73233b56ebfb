"""The Lua scripts of the transport, read from `scripts/*.lua`.

A script that begins with `-- uses: a b` is preceded by the files `_a.lua` and `_b.lua`. Each file says what its keys
and arguments are, what it answers and what bounds its work: nobody else is served while a script runs.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from celeriac_redis.joins import JOINS
from celeriac_redis.link import Script
from celeriac_redis.records import STORE

__all__ = ["ANNOUNCE", "DEPTH", "PUBLISH", "PURGE", "RENEW", "REPLAY", "RESOLVE", "RETAIN", "SETTLE", "TAKE"]

_USES: Final = "-- uses: "
_SHARED: Final = {"records": STORE, "joins": JOINS}
"""Parts that the result store's own scripts have too."""
_FOLDER: Final = files("celeriac_redis") / "scripts"


def _read(name: str) -> Script:
    text = (_FOLDER / f"{name}.lua").read_text("utf-8")
    first = text.partition("\n")[0]
    used = first.removeprefix(_USES).split() if first.startswith(_USES) else []
    return Script(name, "\n".join([*(_part(part) for part in used), text]))


def _part(name: str) -> str:
    return _SHARED.get(name) or (_FOLDER / f"_{name}.lua").read_text("utf-8")


ANNOUNCE: Final = _read("announce")
DEPTH: Final = _read("depth")
PUBLISH: Final = _read("publish")
PURGE: Final = _read("purge")
RENEW: Final = _read("renew")
REPLAY: Final = _read("replay")
RESOLVE: Final = _read("resolve")
RETAIN: Final = _read("retain")
SETTLE: Final = _read("settle")
TAKE: Final = _read("take")
