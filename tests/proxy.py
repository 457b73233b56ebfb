"""A TCP proxy that treats connections as a bad network does: breaks, resets, silences, delays and refuses them.

    with Proxy(server_port) as proxy:
        connect_to(proxy.port)
        proxy.cut(17)  # after 17 more bytes of answers, whichever connection carries them

What the client sends are *requests*, what the server sends are *answers*. The proxy runs in a thread of its own, so
that a test may block in its client; every method may be called from any thread and has taken effect when it returns.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

__all__ = ["Direction", "Proxy", "quiet_port"]

Direction = Literal["requests", "answers"]

CHUNK = 1 << 18
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: closing sends RST


def quiet_port(*, also: int = 0) -> int:
    """Return a port that is free, as is the one `also` above it, and below those of outgoing connections.

    A client that tries a closed port of that range again and again ends up connected to itself, and who restarts a
    server there may find its port taken.
    """
    for _ in range(1000):
        port = random.randint(20000, 22700)
        if all(_is_free(each) for each in {port, port + also}):
            return port
    raise RuntimeError("no free port between 20000 and 22700")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(eq=False)
class _Cut:
    """Break the connection that carries the last of `left` bytes; count from when `seen` has gone by in a request."""

    direction: Direction
    left: int
    seen: bytes
    reset: bool
    every: int
    connection: _Connection | None = None


@dataclass(eq=False)
class _Connection:
    """The two sockets of one connection, and its tasks."""

    client: socket.socket
    server: socket.socket
    lost: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def socket(self, direction: Direction, *, reading: bool) -> socket.socket:
        return self.client if (direction == "requests") == reading else self.server


class Proxy:
    """Passes TCP connections on to `port` of this machine, or to the Unix socket `path`.

    `latency` is in seconds each way, `bandwidth` in bytes a second and direction (None: no limit); both may be set at
    any time and hold for what arrives from then on.
    """

    def __init__(self, port: int = 0, *, path: str = "") -> None:
        self.target = path or ("127.0.0.1", port)
        self.port = quiet_port()
        self.latency = 0.0
        self.bandwidth: float | None = None
        self.bytes: dict[Direction, int] = {"requests": 0, "answers": 0}
        """What was passed on so far."""
        self.connections = 0
        """How many were accepted so far."""
        self.breaks = 0
        """How many connections the proxy broke so far, by `cut` and `drop`."""
        self._open: set[_Connection] = set()
        self._cuts: list[_Cut] = []
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._set_up)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._tear_down(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # -- faults ------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many connections stand."""
        return len(self._open)

    @property
    def armed(self) -> int:
        """How many cuts have not happened yet."""
        return len(self._cuts)

    def cut(
        self,
        after: int,
        direction: Direction = "answers",
        *,
        seen: bytes = b"",
        reset: bool = True,
        every: bool = False,
    ) -> None:
        """Break a connection after `after` more bytes in one direction; those bytes are still delivered.

        Args:
            seen: Count only on the connection whose request holds these bytes, and from that request on. They must not
                straddle two packets, which what was sent at once seldom does.
            reset: Break with RST, which also discards what the other side has not read yet; else with FIN.
            every: Do it again after as many bytes, until `heal`.
        """
        again = max(after, 1) if every else 0
        self._do(lambda: self._cuts.append(_Cut(direction, after, seen, reset, again)))

    def silence(self) -> None:
        """Hold back everything from now on, also on new connections; `heal` delivers it, as TCP does."""
        self._do(self._sound.clear)

    def swallow(self) -> None:
        """Make every connection that stands a black hole for ever, as a router does that forgot it."""

        def lose() -> None:
            for connection in self._open:
                connection.lost = True

        self._do(lose)

    def refuse(self) -> None:
        """Refuse new connections; those that stand go on."""
        self._do(self._close_listener)

    def drop(self, *, reset: bool = True) -> None:
        """Break every connection that stands."""
        self._do(lambda: [self._break(connection, reset=reset) for connection in list(self._open)])

    def heal(self) -> None:
        """Be a good network again: no cut, silence, refusal, latency or limit."""

        def mend() -> None:
            self._cuts.clear()
            self.latency, self.bandwidth = 0.0, None
            self._sound.set()
            self._listen()

        self._do(mend)

    # -- in the thread of the proxy ----------------------------------------------------------------

    def _do(self, work: Callable[[], Any]) -> None:
        async def run() -> None:
            work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _set_up(self) -> None:
        self._sound = asyncio.Event()
        self._sound.set()
        self._listen()

    async def _tear_down(self) -> None:
        self._close_listener()
        for connection in list(self._open):
            self._close(connection, reset=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        client.setblocking(False)
        self.connections += 1
        server = socket.socket(socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET)
        server.setblocking(False)
        connection = _Connection(client, server)
        self._open.add(connection)
        connection.tasks.append(self._loop.create_task(self._connect(connection)))

    async def _connect(self, connection: _Connection) -> None:
        try:
            await self._loop.sock_connect(connection.server, self.target)
        except OSError:  # no server: the client sees a connection that ends at once
            self._close(connection, reset=True)
            return
        for each in (connection.client, connection.server):
            if each.family != socket.AF_UNIX:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for direction in ("requests", "answers"):
            connection.tasks.append(self._loop.create_task(self._carry(connection, direction)))

    async def _carry(self, connection: _Connection, direction: Direction) -> None:
        """Read one direction to its end; what is read is delivered in order, when it is due."""
        source = connection.socket(direction, reading=True)
        due: deque[tuple[float, bytes]] = deque()
        arrived = asyncio.Event()
        delivering = self._loop.create_task(self._deliver(connection, direction, due, arrived))
        connection.tasks.append(delivering)
        data = b"begin"
        while data:
            try:
                data = await self._loop.sock_recv(source, CHUNK)
            except OSError:
                self._close(connection, reset=True)
                return
            due.append((self._loop.time() + self.latency, data))
            arrived.set()

    async def _deliver(
        self, connection: _Connection, direction: Direction, due: deque[tuple[float, bytes]], arrived: asyncio.Event
    ) -> None:
        while True:
            await arrived.wait()
            moment, data = due.popleft()
            if not due:
                arrived.clear()
            await asyncio.sleep(max(0.0, moment - self._loop.time()))
            await self._sound.wait()
            if connection.lost:
                continue
            if not data:
                self._close(connection, reset=False)
                return
            try:
                await self._pass_on(connection, direction, data)
            except OSError:
                self._close(connection, reset=True)
            if connection not in self._open:
                return

    async def _pass_on(self, connection: _Connection, direction: Direction, data: bytes) -> None:
        sink = connection.socket(direction, reading=False)
        if direction == "requests":
            self._look_for(connection, data)
        while data:
            if self.bandwidth is None:
                piece = data
            else:
                piece = data[: max(1, int(self.bandwidth / 100))]
                await asyncio.sleep(len(piece) / self.bandwidth)
            cut = next((each for each in self._cuts if self._counts(each, connection, direction)), None)
            if cut is not None:
                piece = piece[: cut.left]
            if piece:
                self.bytes[direction] += len(piece)  # first: who has received them may look at once
                await self._loop.sock_sendall(sink, piece)
                data = data[len(piece) :]
            if cut is not None and cut in self._cuts:
                cut.left -= len(piece)
                if cut.left <= 0:
                    self._happen(cut, connection)
                    return

    def _look_for(self, connection: _Connection, data: bytes) -> None:
        for cut in self._cuts:
            if cut.seen and cut.connection is None and cut.seen in data:
                cut.connection = connection

    def _counts(self, cut: _Cut, connection: _Connection, direction: Direction) -> bool:
        return cut.direction == direction and (not cut.seen or cut.connection is connection)

    def _happen(self, cut: _Cut, connection: _Connection) -> None:
        if cut.every:
            cut.left, cut.connection = cut.every, None
        else:
            self._cuts.remove(cut)
        self._break(connection, reset=cut.reset)

    def _break(self, connection: _Connection, *, reset: bool) -> None:
        self.breaks += 1
        self._close(connection, reset=reset)

    def _close(self, connection: _Connection, *, reset: bool) -> None:
        if connection not in self._open:
            return
        self._open.discard(connection)
        for each in (connection.client, connection.server):
            self._loop.remove_reader(each)
            self._loop.remove_writer(each)
            if reset and each.family != socket.AF_UNIX:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            each.close()
        for task in connection.tasks:
            if task is not asyncio.current_task():
                task.cancel()
