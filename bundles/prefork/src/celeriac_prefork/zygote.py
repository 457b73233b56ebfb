"""The zygote: forks the children, reaps them, sends them signals, and does nothing else.

It is forked from the worker after the app was imported and before there is a thread or a connection, and stays so: a
child can be forked at any time without finding a lock that is held. All that it has is frozen first (`gc.freeze`), so
that the memory stays shared.

Being the only one that reaps, it alone can send a signal to a child and be sure that it is that child. When the worker
ends, in whatever way, its socket ends, and the zygote kills the children and ends; when the zygote ends, the kernel
kills the children.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from celeriac_prefork import orders
from celeriac_prefork.orders import Order
from celeriac_prefork.signals import for_zygote

__all__ = ["Handle", "Zygote"]


class Handle(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Reap it if it has ended; return its exit code, or minus the signal that ended it."""
        ...


class Zygote:
    """The loop of the zygote.

    Args:
        control: The socket to the parent.
        launch: Starts a child in a slot, in the child never returns.
        abandoned: Called when the parent was killed, after the children.
    """

    def __init__(self, control: socket.socket, launch: Callable[[int], Handle], abandoned: Callable[[], None]) -> None:
        self._control = control
        self._launch = launch
        self._abandoned = abandoned
        self._children: dict[int, Handle] = {}
        self._news: deque[bytes] = deque()
        self._deadline: float | None = None
        self._pipe: tuple[int, ...] = ()

    def leave(self) -> None:
        """Close, in a process that was forked from the zygote, what is the zygote's own."""
        self._control.close()
        for end in self._pipe:
            os.close(end)

    def serve(self) -> None:
        """Follow orders until told to end, or the parent has gone."""
        for_zygote()
        self._pipe = reader, _ = _wakeup_pipe()
        gc.collect()
        gc.freeze()
        self._control.setblocking(False)
        while self._deadline is None or self._children:
            timeout = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            events = dict(self._wait(reader, timeout))
            if reader in events:
                with suppress(BlockingIOError):
                    os.read(reader, 4096)
            self._look()
            self._tell()
            if self._control.fileno() in events and not self._listen():
                self._kill_all()
                self._abandoned()
                break
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._kill_all()
        self._flush()
        signal.set_wakeup_fd(-1)
        self.leave()

    def _wait(self, reader: int, timeout: float | None) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(self._control, select.POLLIN | (select.POLLOUT if self._news else 0))
        return [
            (descriptor, event)
            for descriptor, event in poll.poll(None if timeout is None else timeout * 1000 + 1)
            if event != select.POLLOUT
        ]

    def _listen(self) -> bool:
        """Follow the orders of one message; return False if the parent has gone."""
        try:
            received = orders.unpack(self._control)
        except BlockingIOError:
            return True
        if received is None:
            return False
        for order in received:
            if order.kind == orders.FORK:
                self._fork(order.slot)
            elif order.kind == orders.SIGNAL:
                self._signal(order)
            elif order.kind == orders.END:
                self._deadline = time.monotonic() + order.value / 1000
        self._tell()
        return True

    def _fork(self, slot: int) -> None:
        try:
            child = self._launch(slot)
        except OSError as error:
            self._news += orders.pack([Order(orders.UNBORN, slot, value=error.errno or 0)])
            return
        self._children[slot] = child
        self._news += orders.pack([Order(orders.BORN, slot, child.pid)])

    def _signal(self, order: Order) -> None:
        child = self._children.get(order.slot)
        if child is not None and child.pid == order.pid:
            with suppress(OSError, ValueError):
                os.kill(order.pid, order.value)

    def _look(self) -> None:
        """See which children have ended, were stopped, or go on."""
        for slot, child in list(self._children.items()):
            status = child.poll()
            if status is not None:
                del self._children[slot]
                self._news += orders.pack([Order(orders.DIED, slot, child.pid, status)])
                continue
            with suppress(OSError):
                change = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
                if change is not None:
                    stopped = change.si_code == os.CLD_STOPPED
                    self._news += orders.pack([Order(orders.STOPPED, slot, child.pid, int(stopped))])

    def _tell(self) -> None:
        with suppress(OSError):
            while self._news:
                self._control.send(self._news[0])
                self._news.popleft()

    def _flush(self) -> None:
        with suppress(OSError):
            self._control.settimeout(1.0)
            while self._news:
                self._control.send(self._news.popleft())

    def _kill_all(self) -> None:
        """Kill and reap every child."""
        for child in self._children.values():
            with suppress(OSError):
                os.kill(child.pid, signal.SIGKILL)
        for slot, child in list(self._children.items()):
            while (status := child.poll()) is None:
                time.sleep(0.001)
            del self._children[slot]
            self._news += orders.pack([Order(orders.DIED, slot, child.pid, status)])


def _wakeup_pipe() -> tuple[int, int]:
    """Have `poll` return when a child ends."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader, writer
