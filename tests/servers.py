"""Real servers for tests: the one that is named, one started here, or the one at its usual port.

One that is started here is nobody else's: tests may fill it, empty it and measure it. What stands at the usual port may
serve other programs too, so it comes last.

A bundle describes its server in its own pyproject.toml, so this list grows with the folders:

    [tool.celeriac.servers.redis]
    url = "redis://127.0.0.1:{port}/0"
    port = 6379
    program = ["redis-server", "--port", "{port}", "--save", ""]

The environment variable `CELERIAC_TEST_REDIS` names another one by its URL.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory


class ServerMissing(Exception):
    """The server is neither named, nor running, nor can it be started; the text says how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a bundle says about the server that its tests need. `{port}` is filled in."""

    name: str
    url: str
    port: int
    program: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        return f"CELERIAC_TEST_{self.name.upper()}"


def declared(root: Path) -> dict[str, Server]:
    """Return every server that a bundle under `root` describes, by name."""
    found = {}
    for path in root.glob("bundles/[!_]*/pyproject.toml"):
        table = tomllib.loads(path.read_text()).get("tool", {}).get("celeriac", {}).get("servers", {})
        for name, entry in table.items():
            program = tuple(entry.get("program", ()))
            found[name] = Server(name=name, url=entry["url"], port=entry["port"], program=program)
    return found


@contextmanager
def running(server: Server, *, timeout: float = 10.0) -> Iterator[str]:
    """Give the URL of a running server; one that had to be started here is stopped afterwards.

    Raises: ServerMissing: there is none.
    """
    named = os.environ.get(server.variable)
    if named:
        yield named
    elif server.program and shutil.which(server.program[0]):
        with _started(server, timeout) as url:
            yield url
    elif answers(server.port):
        yield server.url.format(port=server.port)
    else:
        start = f", install {server.program[0]}" if server.program else ""
        raise ServerMissing(
            f"no {server.name} at port {server.port}: start one{start} or set {server.variable} to its URL"
        )


def answers(port: int) -> bool:
    """Whether something listens at this port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _started(server: Server, timeout: float) -> Iterator[str]:
    """Start a server in a folder of its own; another program may take its port first, so there are three tries."""
    for last in (False, False, True):
        port = free_port()
        command = [part.format(port=port) for part in server.program]
        with TemporaryDirectory(prefix="celeriac-server-") as folder:
            process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                if _opens(port, process, timeout):
                    yield server.url.format(port=port)
                    return
                if last:
                    raise ServerMissing(f"{' '.join(command)} did not open port {port} within {timeout:g} s")
            finally:
                process.terminate()
                process.wait(timeout)


def _opens(port: int, process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Whether a server that was just started is ready; one of any make tells that by its port alone."""
    end = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        if answers(port):
            return True
        time.sleep(0.02)
    return False
