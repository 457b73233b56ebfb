"""What must happen before anything else is imported; so it uses the standard library alone.

A pool of greenlets replaces parts of the standard library, and whatever was imported before keeps the old parts. Such
a pool's distribution names a function in the entry point group `celeriac.patches`, under the name of the pool.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["patch", "pool_name"]


def pool_name(arguments: Sequence[str]) -> str | None:
    """Return the pool that `celeriac worker` is asked for, without knowing any other option."""
    if "worker" not in arguments:
        return None
    chosen = os.environ.get("CELERIAC_WORKER_POOL")
    for at, argument in enumerate(arguments):
        if argument in ("-P", "--pool"):
            chosen = arguments[at + 1] if at + 1 < len(arguments) else None
        elif argument.startswith("--pool="):
            chosen = argument.removeprefix("--pool=")
        elif argument.startswith("-P"):
            chosen = argument.removeprefix("-P")
        elif argument.startswith("worker_pool="):
            chosen = chosen or argument.removeprefix("worker_pool=")
    return chosen


def patch(arguments: Sequence[str]) -> None:
    """Let the pool that these arguments choose replace what it must."""
    pool = pool_name(arguments)
    if pool is None:
        return
    from importlib.metadata import entry_points  # noqa: PLC0415  15 ms that only such a worker has to pay

    for entry in entry_points(group="celeriac.patches", name=pool):
        with suppress(ImportError):  # the worker will say what is missing, and the fix
            entry.load()()
