"""The open connections to one node: taken for one call, given back after it, thrown away when anything failed."""

from __future__ import annotations

import os
import threading
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

from celeriac_redis.dialing import Dialler
from celeriac_redis.location import Node
from celeriac_redis.replies import LinkLost
from celeriac_redis.wire import Wire

__all__ = ["Wires"]

_TRUSTED_SECONDS: Final = 1.0
"""A wire that lay idle for longer is looked at before it is used: the server may have closed it."""


class Wires:
    """Wires to one node, for any number of threads.

    A process that was forked finds the wires of its parent here. It leaves them alone and opens its own.
    """

    def __init__(self, dialler: Dialler, node: Node | None = None) -> None:
        self.node: Node | None = node
        self._dialler = dialler
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[Wire] = []
        self._out: set[Wire] = set()
        self._apart: WeakSet[Wire] = WeakSet()

    def call(self, packed: bytes, count: int, end: float) -> list[Any]:
        """Send `count` packed commands over one wire and return their replies, error replies among them.

        Raises: NotSent: the moment `end` had passed before. LinkLost: the wire broke, or the moment passed, since.
        """
        wire = self.take(end)
        try:
            replies = wire.call(packed, count, end)
        except BaseException:
            # Also when a signal's exception came in between: a late reply must not be read by the next call.
            self.discard(wire)
            raise
        self.give(wire)
        return replies

    def apart(self, end: float) -> Wire:
        """Return a new wire that is not shared; who has it closes it."""
        wire = self._dialled(end)
        with self._lock:
            self._out.discard(wire)
            self._apart.add(wire)
        return wire

    def take(self, end: float) -> Wire:
        """Return a wire that nobody else uses; `give` or `discard` must follow."""
        if self._pid != os.getpid():
            self._start()
        while True:
            with self._lock:
                if self._closed:
                    raise LinkLost("this connection is closed")
                wire = self._idle.pop() if self._idle else None
                if wire is not None:
                    self._out.add(wire)
            if wire is None:
                return self._dialled(end)
            if monotonic() - wire.idle_since < _TRUSTED_SECONDS or wire.is_silent():
                return wire
            self.discard(wire)

    def _dialled(self, end: float) -> Wire:
        if self._pid != os.getpid():
            self._start()
        wire = self._dialler.dial(end, self.node)
        with self._lock:
            if not self._closed:
                self._out.add(wire)
                return wire
        wire.close()
        raise LinkLost("this connection is closed")

    def give(self, wire: Wire) -> None:
        """Take a wire back, over which every reply has been read."""
        wire.idle_since = monotonic()
        with self._lock:
            self._out.discard(wire)
            if not self._closed and len(self._idle) < self._dialler.location.idle_connections:
                self._idle.append(wire)
                return
        wire.close()

    def discard(self, wire: Wire) -> None:
        """Close a wire on which something failed, and all that are idle: what befell one befell them too."""
        with self._lock:
            self._out.discard(wire)
            idle, self._idle = self._idle, []
        for each in (wire, *idle):
            each.close()

    def forget_idle(self) -> None:
        """Close the wires that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()

    def close(self) -> None:
        """Close what is idle, and make every call fail that is under way."""
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            self._closed = True
            idle, self._idle, busy = self._idle, [], [*self._out, *self._apart]
        for each in idle:
            each.close()
        for each in busy:
            each.hang_up()
