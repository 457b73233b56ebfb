"""Throwaway Redis servers: plain, durable, limited, with TLS, a Unix socket or users. Groups are in redis_groups.py.

    with redis_server("--appendonly", "yes") as server:
        server.url           # redis://127.0.0.1:20017/0
        server.kill()        # SIGKILL
        server.start()       # the same port and folder

Each stands in a folder of its own and is gone, with the folder, when its context ends. A program named by
`CELERIAC_REDIS_SERVER` is used instead of redis-server, such as valkey-server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
import trustme
from proxy import quiet_port
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

PROGRAM = os.environ.get("CELERIAC_REDIS_SERVER", "redis-server")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""What is accepted is on disk before the answer."""

BUS = 10_000
"""How far above its port a node of a Cluster listens for the others."""

START_SECONDS = 20.0


def installed() -> bool:
    """Whether there is a program to start."""
    return shutil.which(PROGRAM) is not None


@dataclass(kw_only=True)
class RedisServer:
    """One server process, which may be killed, stopped, paused and started again over the same folder."""

    folder: Path
    settings: tuple[str, ...] = ()
    port: int = 0
    password: str = ""
    user: str = ""
    socket: str = ""
    administrator: dict[str, str] = field(default_factory=dict)
    """Who gives the orders of `run`, where `user` may not."""
    authority: str = ""
    """The file of the certificate authority, where the server speaks TLS."""
    file: str = ""
    """The configuration file that the server rewrites itself: a Sentinel's."""
    with_bus: bool = False
    """Whether the port `BUS` above its own must be free too: a Cluster's."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    # -- where it is -------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of database 0, with what is needed to get in."""
        return self.database(0)

    def database(self, number: int) -> str:
        """Return the URL of one database, with what is needed to get in."""
        if self.socket:
            return f"redis+socket://{self._access}{self.socket}?virtual_host={number}"
        if self.authority:
            return f"rediss://{self._access}127.0.0.1:{self.port}/{number}?ssl_ca_certs={self.authority}"
        return f"redis://{self._access}127.0.0.1:{self.port}/{number}"

    @property
    def _access(self) -> str:
        return f"{self.user}:{self.password}@" if self.password else ""

    def client(self, **options: Any) -> redis.Redis:
        """Return a client of the test's own; close it, or use it in a `with` block."""
        if self.authority:
            options = {"ssl": True, "ssl_ca_certs": self.authority, **options}
        place = {"unix_socket_path": self.socket} if self.socket else {"host": "127.0.0.1", "port": self.port}
        access = {"username": self.user, "password": self.password}
        steady = {"socket_timeout": 10, "retry": Retry(NoBackoff(), 0)}
        given = {**steady, **place, **access, **options}
        return redis.Redis(**{name: value for name, value in given.items() if value != ""})

    def run(self, *command: Any) -> Any:
        """Run one command over a connection of its own."""
        return self.run_in(0, *command)

    def run_in(self, database: int, *command: Any) -> Any:
        """Run one command in one database, as the user `default` where the server has other users too."""
        with self.client(db=database, **self.administrator) as client:
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, Any]:
        """Return what the server tells of itself."""
        with self.client() as client:
            return dict(client.info(section))

    def cluster_info(self) -> dict[str, str]:
        """Return what the server tells of its Cluster."""
        reply = self.run("CLUSTER", "INFO")
        return dict(line.partition(":")[::2] for line in text(reply).split("\r\n"))

    def node_id(self) -> str:
        """Return what its Cluster calls it."""
        return text(self.run("CLUSTER", "MYID"))

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "server.log").read_text()

    # -- its life ----------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers; the first time, another port is tried if somebody took this one."""
        fresh = not self.port
        for _ in range(3 if fresh else 1):
            if fresh:
                self.port = quiet_port(also=BUS if self.with_bus else 0)
            if self._started():
                return
            self.kill()
        raise RuntimeError(f"{PROGRAM} does not answer at port {self.port}:\n{self.log()}")

    def _started(self) -> bool:
        command = [PROGRAM, *([self.file] if self.file else []), *self._place(), *self.settings]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while self.runs and time.monotonic() < end:
            if self._answers():
                return True
            time.sleep(0.02)
        return False

    def _place(self) -> list[str]:
        place = ["--dir", str(self.folder), "--bind", "127.0.0.1"]
        if self.socket:
            place += ["--port", "0", "--unixsocket", self.socket]
        elif self.authority:
            place += ["--port", "0", "--tls-port", str(self.port)]
        else:
            place += ["--port", str(self.port)]
        return place

    def _answers(self) -> bool:
        """Whether this very process answers, and has loaded its data."""
        try:
            with self.client(socket_timeout=2, socket_connect_timeout=2) as client:
                info = client.info("server")
                return info["process_id"] == self.process.pid and (self.file != "" or client.ping())
        except (RedisError, OSError):
            return False

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end and wait for it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    def restart(self) -> None:
        """Kill it, and start it again with what was on disk."""
        self.kill()
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process with SIGSTOP for the time of a block: connections stand, nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(*settings: str, **fields: Any) -> Iterator[RedisServer]:
    """Run a server with these arguments; it saves nothing unless they say so."""
    with TemporaryDirectory(prefix="celeriac-redis-", ignore_cleanup_errors=True) as folder:
        server = RedisServer(folder=Path(folder), settings=("--save", "", *settings), **fields)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def socket_server(*settings: str) -> Iterator[RedisServer]:
    """Run a server that listens at a Unix socket only."""
    with (
        TemporaryDirectory(prefix="celeriac-") as folder,
        redis_server(*settings, socket=f"{folder}/redis.sock") as one,
    ):
        yield one


@contextmanager
def tls_server(*settings: str) -> Iterator[RedisServer]:
    """Run a server that speaks TLS only, its certificate signed by a throwaway authority."""
    with TemporaryDirectory(prefix="celeriac-tls-") as folder:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        certificate.private_key_pem.write_to_path(f"{folder}/server.key")
        for part in certificate.cert_chain_pems:
            part.write_to_path(f"{folder}/server.pem", append=True)
        tls = ("--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.pem")
        absolute = [f"{folder}/{each}" if "." in each else each for each in tls]
        with redis_server(*absolute, "--tls-auth-clients", "no", *settings, authority=f"{folder}/ca.pem") as server:
            yield server


def text(word: Any) -> str:
    """Return a reply as text, whichever a version of the client gives."""
    return word.decode() if isinstance(word, bytes) else str(word)
