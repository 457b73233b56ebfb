"""The harnesses by which the contract suites test this distribution, and the server they run on.

The server is started once per process, on a socket in a folder of its own, and stopped with the process, however that
ends. Where `CELERIAC_TEST_REDIS` names another server by its URL, that one is used; its database is emptied.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from celeriac.model.address import Address
from celeriac.spi.service import read_options
from celeriac.testing.harness import StoreHarness
from celeriac_redis.coordinator import RedisCoordinator
from celeriac_redis.link import Link, LinkLost
from celeriac_redis.location import locate
from celeriac_redis.plugin import CONNECTION_OPTIONS
from celeriac_redis.results import RedisResultStore
from celeriac_redis.transport import RedisTransport

__all__ = ["connect", "coordinator", "results", "running_server", "store", "transport"]

_PROGRAMS = ("redis-server", "valkey-server")
_DATABASES = 16
_START_SECONDS = 20.0


@contextmanager
def running_server(*arguments: str) -> Iterator[str]:
    """Run a server of its own, with more arguments for it, until the block ends; give the URL of its socket.

    Raises: FileNotFoundError: neither Redis nor Valkey is installed here.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise FileNotFoundError(
            f"None of {', '.join(_PROGRAMS)} is installed: install one, or set CELERIAC_TEST_REDIS."
        )
    with tempfile.TemporaryDirectory(prefix="celeriac-") as folder:
        path = Path(folder) / "socket"
        command = [program, "--port", "0", "--unixsocket", str(path), "--dir", folder, "--save", "", *arguments]
        # The shell ends the server when the pipe closes, which it does however this process ends.
        process = subprocess.Popen(  # noqa: S603  a program of this machine and what tests give it
            ["/bin/sh", "-c", '"$@" & read -r _; kill $!; wait $!', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"redis+socket://{path}"
            _wait_for(url)
            yield url
        finally:
            # A line, and not the end of the pipe alone: a process that a test forked and left may have it open too.
            process.communicate(b"\n")


def _wait_for(url: str) -> None:
    end = monotonic() + _START_SECONDS
    while True:
        link = connect(url)
        try:
            link.run("PING", timeout=1.0)
        except LinkLost:
            if monotonic() > end:
                raise
            sleep(0.01)  # a server tells nobody that it is ready but by answering
        else:
            return
        finally:
            link.close()


def connect(url: str, **options: object) -> Link:
    """Return an unopened link to the store at `url`."""
    address = Address.parse(url)
    return Link(locate(address, read_options(CONNECTION_OPTIONS, address, options, source=address.scheme)))


class _Databases:
    """The databases of one server, each lent to one harness at a time."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._free = list(urls)

    def take(self) -> str:
        with self._lock:
            return self._free.pop(0)

    def give(self, url: str) -> None:
        with self._lock:
            self._free.append(url)


@functools.cache
def _databases(_process: int) -> _Databases:
    named = os.environ.get("CELERIAC_TEST_REDIS")
    if named:
        return _Databases([named])
    stack = ExitStack()
    url = stack.enter_context(running_server("--appendonly", "no"))
    atexit.register(stack.close)
    return _Databases([f"{url}?virtual_host={number}" for number in range(_DATABASES)])


@contextmanager
def store() -> Iterator[str]:
    """Give the URL of an empty database."""
    databases = _databases(os.getpid())
    url = databases.take()
    link = connect(url)
    try:
        link.run("FLUSHDB", timeout=10.0)
        yield url
    finally:
        link.close()
        databases.give(url)


@contextmanager
def transport() -> Iterator[StoreHarness[RedisTransport]]:
    """Give an empty database to transports whose leases last two seconds."""
    with store() as url:
        yield StoreHarness(
            RedisTransport,
            url,
            virtual=False,
            options={"lease_seconds": 2.0},
            steady={"lease_seconds": 600.0},
            results=RedisResultStore,
            coordinator=RedisCoordinator,
        )


@contextmanager
def results() -> Iterator[StoreHarness[RedisResultStore]]:
    """Give an empty database to result stores."""
    with store() as url:
        yield StoreHarness(RedisResultStore, url, virtual=False)


@contextmanager
def coordinator() -> Iterator[StoreHarness[RedisCoordinator]]:
    """Give an empty database to coordinators."""
    with store() as url:
        yield StoreHarness(RedisCoordinator, url, virtual=False)
