"""The parent's hold on the zygote: started first, ended last."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from celeriac_prefork import orders
from celeriac_prefork.orders import Order
from celeriac_prefork.zygote import Handle

__all__ = ["Brood"]

log: logging.Logger = logging.getLogger(__name__)

MARGIN_SECONDS = 2.0
"""How much longer than its children the zygote may take to end."""


class Brood:
    """The zygote and the socket to it.

    Args:
        start: Starts the zygote, given its end of the socket.
    """

    def __init__(self, start: Callable[[socket.socket, socket.socket], Handle]) -> None:
        self.control: socket.socket
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.control, theirs):
            end.settimeout(None)
        try:
            self._zygote = start(self.control, theirs)
        except BaseException:
            self.control.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The process id of the zygote."""
        return self._zygote.pid

    def end(self, grace: float) -> list[Order]:
        """End the children, by force after `grace` seconds, and the zygote; return what it told meanwhile."""
        news: list[Order] = []
        with suppress(OSError):
            for message in orders.pack([Order(orders.END, value=int(grace * 1000))]):
                self.control.send(message)
        self.control.settimeout(grace + MARGIN_SECONDS)
        with suppress(TimeoutError, OSError):
            while (told := orders.unpack(self.control)) is not None:
                news += told
        self.reap()
        return news

    def reap(self) -> int:
        """Wait for the zygote, which is ending; kill it if it does not. Return its exit code, or minus the signal."""
        deadline = time.monotonic() + MARGIN_SECONDS
        while (status := self._zygote.poll()) is None:
            if time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.kill(self._zygote.pid, signal.SIGKILL)
            time.sleep(0.001)
        return status

    def close(self) -> None:
        """Close the socket."""
        self.control.close()


def warn_of_threads() -> None:
    """Say which threads run: what they hold locked at the moment of the fork stays locked in every child."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if others:
        log.warning(
            "The children are forked beside running threads (%s): a lock that one of them holds now is held for ever"
            " there. Start threads in `worker_process_init`, not when modules are imported.",
            ", ".join(others),
            extra={"event": "fork_with_threads", "threads": others},
        )
