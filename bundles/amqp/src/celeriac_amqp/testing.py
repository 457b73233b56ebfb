"""The harnesses by which the contract suites test this distribution, and the RabbitMQ that they run on.

A node of its own is started once per process, in a folder of its own and with an epmd of its own, and ends with the
process, however that ends. Where `CELERIAC_TEST_AMQP` names another server by its URL, that one is used, by means of
its management plugin at `CELERIAC_TEST_AMQP_MANAGEMENT` (`http://guest:guest@<host>:15672` if that is not set). Each
harness has a fresh virtual host.
"""

from __future__ import annotations

import atexit
import base64
import functools
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import quote, urlsplit

from celeriac.testing.harness import StoreHarness
from celeriac_amqp.results import RpcResults
from celeriac_amqp.transport import AmqpTransport

__all__ = ["Node", "Server", "installed", "results", "running_server", "server", "transport", "vhost"]

_PROGRAMS: Final = "/usr/lib/rabbitmq/bin"
_START_SECONDS: Final = 60.0
_MODEST: Final = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
"""One scheduler that does not spin: a node is one of many things on the machine of a test."""
_KEEPER: Final = """
folder=$1; epmd=$2; shift 2; pid=
while read -r word; do
    case $word in
        end) break;;
        start) "$@" >>"$folder/output" 2>&1 </dev/null & pid=$!; echo started;;
        *) kill "-$word" $pid; wait $pid; echo ended;;
    esac
done 2>/dev/null
{ kill -KILL $pid; wait $pid; "$epmd" -kill >&2; rm -rf "$folder"; echo gone; } 2>/dev/null
"""
"""A shell that starts and ends the node as it is told, and ends it at last when nobody is left to tell it anything."""


class Server:
    """A RabbitMQ: `url` is that of its virtual host `/`, `management_url` that of its management plugin."""

    def __init__(self, url: str, management_url: str) -> None:
        self.url: str = url
        self.management_url: str = management_url
        self._numbers = itertools.count()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the management plugin; `path` comes after `/api/`. Return what it answers. Raises: OSError."""
        parts = urlsplit(self.management_url)
        request = urllib.request.Request(  # noqa: S310  an address that a test gave
            f"{parts.scheme}://{parts.hostname}:{parts.port}/api/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "content-type": "application/json",
                "authorization": "Basic " + base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode(),
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  as above
            text = answer.read()
        return json.loads(text) if text else None

    @contextmanager
    def vhost(self, name: str | None = None, *, queue_type: str | None = None) -> Iterator[str]:
        """Make a virtual host, give its URL, and drop it in the end."""
        name = name or f"celeriac-{os.getpid()}-{next(self._numbers)}"
        path, user = f"vhosts/{quote(name, safe='')}", urlsplit(self.url).username or "guest"
        self.call("PUT", path, {"default_queue_type": queue_type} if queue_type else {})
        try:
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            self.call("PUT", f"permissions/{quote(name, safe='')}/{user}", everything)
            yield f"{self.url.rstrip('/')}/{quote(name, safe='')}"
        finally:
            self.call("DELETE", path)


class Node(Server):
    """A RabbitMQ of its own, which can be stopped, killed and started again. `folder` holds all that it writes."""

    def __init__(self, folder: Path, config: Mapping[str, Any], erlang_flags: str, advanced: str = "") -> None:
        self.folder: Path = folder
        self.port, management, distribution, epmd = _free_ports(4)
        super().__init__(f"amqp://guest:guest@127.0.0.1:{self.port}//", f"http://guest:guest@127.0.0.1:{management}")
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": management,
            "disk_free_limit.absolute": "1MB",
            **config,
        }
        (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        (folder / "advanced.config").write_text(advanced or "[].\n")
        (folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",  # without it, a shell stands between this process and the node
            "RABBITMQ_NODENAME": f"celeriac-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {erlang_flags}".rstrip(),
        }
        self._keeper = subprocess.Popen(  # noqa: S603  a program of this machine and what tests give it
            ["/bin/sh", "-c", _KEEPER, "sh", str(folder), _program("epmd"), _program("rabbitmq-server")],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers. Raises: TimeoutError: with its output."""
        self._tell("start")
        end = monotonic() + _START_SECONDS
        while not self._answers():
            if monotonic() > end:
                output = (self.folder / "output").read_text(errors="replace")
                raise TimeoutError(f"RabbitMQ did not start within {_START_SECONDS:g} s:\n{output}")
            sleep(0.05)  # a server tells nobody that it is ready but by answering

    def stop(self) -> None:
        """Have it end in an orderly way, which tells every client."""
        self._tell("TERM")

    def kill(self) -> None:
        """End it at once."""
        self._tell("KILL")

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl with these arguments and return what it prints; takes a second or two."""
        command = [_program("rabbitmqctl"), *arguments]
        done = subprocess.run(  # noqa: S603  as above
            command, env=self._environment, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def end(self) -> None:
        """End it and its epmd, and remove all that it wrote."""
        # A word, and not the end of the pipe alone: a process that a test forked and left may have it open too.
        self._keeper.communicate("end\n")

    def _tell(self, word: str) -> None:
        stdin, stdout = self._keeper.stdin, self._keeper.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the node was ended")
        stdin.write(word + "\n")
        stdin.flush()
        stdout.readline()

    def _answers(self) -> bool:
        try:
            self.call("GET", "vhosts")
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True


def _program(name: str) -> str:
    """Return where a program of RabbitMQ or Erlang is.

    The folder of RabbitMQ comes first: what a system puts in the path may be a wrapper that changes the user.
    """
    found = shutil.which(name, path=_PROGRAMS) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: install RabbitMQ, or set CELERIAC_TEST_AMQP.")
    return found


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in free]


@contextmanager
def running_server(*, advanced: str = "", erlang_flags: str = _MODEST, **config: Any) -> Iterator[Node]:
    """Run a node of its own until the block ends, with these lines in its rabbitmq.conf.

    Names with dots are given as in `running_server(**{"vm_memory_high_watermark.absolute": "1MB"})`. `advanced` is the
    text of its advanced.config, for what has no name there. `erlang_flags` are those of its emulator; none are those
    of RabbitMQ as it comes. It takes about six seconds to start.

    Raises: FileNotFoundError: RabbitMQ is not installed here.
    """
    folder = tempfile.mkdtemp(prefix="celeriac-rabbitmq-")
    node = Node(Path(folder), config, erlang_flags, advanced)
    try:
        node.start()
        yield node
    finally:
        node.end()


@functools.cache
def _server(_process: int) -> Server:
    named = os.environ.get("CELERIAC_TEST_AMQP")
    if named:
        standard = f"http://guest:guest@{urlsplit(named).hostname}:15672"
        return Server(named, os.environ.get("CELERIAC_TEST_AMQP_MANAGEMENT", standard))
    stack = ExitStack()
    node = stack.enter_context(running_server())
    atexit.register(stack.close)
    return node


def installed() -> bool:
    """Whether there is a RabbitMQ to test with."""
    if "CELERIAC_TEST_AMQP" in os.environ:
        return True
    try:
        return bool(_program("rabbitmq-server") and _program("epmd"))
    except FileNotFoundError:
        return False


def server() -> Server:
    """Return the server that all tests of this process share. Whoever stops or kills one runs another."""
    return _server(os.getpid())


@contextmanager
def vhost() -> Iterator[str]:
    """Give the URL of a fresh virtual host."""
    with server().vhost() as url:
        yield url


@contextmanager
def transport() -> Iterator[StoreHarness[AmqpTransport]]:
    """Give a fresh virtual host to transports whose queues are classic and have all priorities."""
    with vhost() as url:
        yield StoreHarness(
            AmqpTransport,
            url,
            virtual=False,
            options={"queue_max_priority": 9, "native_delayed_delivery_queue_type": "classic"},
        )


@contextmanager
def results() -> Iterator[StoreHarness[RpcResults]]:
    """Give a fresh virtual host to result stores."""
    with vhost() as url:
        yield StoreHarness(RpcResults, url, virtual=False)
