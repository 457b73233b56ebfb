"""Renews a lease while the hub of this process is held up: by a process of its own, which no greenlet can disturb.

A thread of this process could not do it soundly. Whatever talks to a broker uses locks, sockets and the log, all of
them replaced by the patch, and shared with greenlets that do not go on. So the connection for it is in another process,
started when it is first needed. It does nothing by itself: each byte from here has it renew once. If this process dies
or stands still no byte comes, and the lease lapses as it should.
"""

from __future__ import annotations

import errno
import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any

from celeriac.spi.transport import Leases, Transport

__all__ = ["Pacemaker"]

SHARE = 1 / 6
"""After which part of a lease without a sign of the hub to renew, and how often then. The hub does it at a third."""


class Pacemaker:
    """Has the lease of a transport's holder renewed. Every method but `close` is called by the sentinel's thread.

    Args:
        transport: The worker's own connection; another one like it is made in the other process.
        original: Returns what a module had before the patch.

    Raises: Exception: the options of the transport cannot be handed to another process.
    """

    def __init__(self, transport: Transport, original: Callable[[str, str], Any]) -> None:
        if not isinstance(transport, Leases):
            raise TypeError(f"{transport!r} has no lease.")
        self.patience: float = transport.lease_seconds * SHARE
        """Seconds for which the hub may give no sign."""
        kind = type(transport)
        recipe = pickle.dumps(
            {
                "module": kind.__module__,
                "class": kind.__qualname__,
                "url": transport.address.url,
                "holder": transport.context.holder,
                "options": dict(transport.context.options),
                "lease_seconds": transport.lease_seconds,
            }
        )
        self._recipe = struct.pack("!I", len(recipe)) + recipe
        self._waitpid: Any = original("os", "waitpid")
        self._spawn: Any = original("os", "posix_spawn")
        self._lock: Any = original("_thread", "allocate_lock")()
        """Keeps `close` from closing what `beat` is about to use. Nobody holds it while waiting for the hub."""
        self._last = 0.0
        self._pid = 0
        self._pipe = -1

    def beat(self, now: float) -> None:
        """Have the lease renewed, if that was not done just now."""
        if now - self._last < self.patience:
            return
        self._last = now
        with self._lock:
            try:
                if self._pipe < 0:
                    self._begin()
                os.write(self._pipe, b".")
            except BlockingIOError:
                return  # it is behind; it will renew as soon as it can
            except OSError:
                self._end()  # it died; the next beat starts another one

    def close(self) -> None:
        """End the other process."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        pipe, self._pipe = self._pipe, -1
        pid, self._pid = self._pid, 0
        if pipe >= 0:
            os.close(pipe)
        if pid:
            try:
                os.kill(pid, 9)  # it holds nothing; and it might be waiting for a broker
                self._waitpid(pid, 0)
            except OSError as error:
                if error.errno not in (errno.ECHILD, errno.ESRCH):  # the hub's library may have been faster
                    raise

    def _begin(self) -> None:
        reader, self._pipe = os.pipe()
        try:
            self._pid = self._spawn(
                sys.executable,
                [sys.executable, "-m", "celeriac.greenlets.renewal"],
                {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
                setpgroup=0,  # Ctrl-C is for the worker
            )
        finally:
            os.close(reader)
        os.write(self._pipe, self._recipe)
        os.set_blocking(self._pipe, False)
