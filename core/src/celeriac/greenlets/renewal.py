"""The process that renews the lease of a worker whose hub is held up; see `celeriac.greenlets.pacemaker`."""

from __future__ import annotations

import importlib
import os
import pickle
import struct
import sys
from functools import reduce
from typing import Any

from celeriac.errors import StoreError
from celeriac.model.address import Address
from celeriac.spi.service import Context

__all__: list[str] = []

LONGEST_BURST = 4096


class _Renewal:
    """A connection in the name of the worker, opened at the first need, and anew after a failure.

    It is never closed: closing could give the lease up, which is the worker's. It goes with the process.
    """

    def __init__(self, recipe: dict[str, Any]) -> None:
        module = importlib.import_module(recipe["module"])
        self._class: Any = reduce(getattr, recipe["class"].split("."), module)
        self._address = Address.parse(recipe["url"])
        self._context = Context(holder=recipe["holder"], options=recipe["options"])
        self._timeout = recipe["lease_seconds"] / 4
        self._transport: Any = None

    def renew(self) -> None:
        """Renew once. A failure is told by the worker, which renews over its own connection as soon as it can."""
        try:
            if self._transport is None:
                transport = self._class(self._address, self._context)
                transport.open(timeout=self._timeout)
                self._transport = transport
            self._transport.renew(timeout=self._timeout)
        except StoreError:
            self._transport = None


def _main() -> None:
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        (size,) = struct.unpack("!I", _exactly(pipe, 4))
        renewal = _Renewal(pickle.loads(_exactly(pipe, size)))  # noqa: S301  from the worker that started this process
        while pipe.read(LONGEST_BURST):
            renewal.renew()


def _exactly(pipe: Any, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = pipe.read(size - len(parts))
        if not part:
            sys.exit()
        parts += part
    return parts


if __name__ == "__main__":
    _main()
    os._exit(0)
