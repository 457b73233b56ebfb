"""Throwaway Redis servers: plain, durable, limited, with TLS, a Unix socket or users, as Sentinels, as a Cluster.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
import trustme
from proxy import quiet_port
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
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
        return dict(line.partition(":")[::2] for line in _text(reply).split("\r\n"))

    def node_id(self) -> str:
        """Return what its Cluster calls it."""
        return _text(self.run("CLUSTER", "MYID"))

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


# -- several servers -------------------------------------------------------------------------------


@dataclass(kw_only=True)
class RedisCluster:
    """A Cluster of masters that share the slots evenly, each with as many replicas; masters come first."""

    nodes: list[RedisServer]
    masters: int

    @property
    def url(self) -> str:
        """The URL, which names every node."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def empty(self) -> None:
        """Delete everything."""
        for node in self.nodes:
            if _role(node) == "master":
                node.run("FLUSHALL")

    def begin_moving(self, key: str, target: RedisServer) -> None:
        """Leave the slot of `key`, which must be empty, half way to `target`: nodes answer ASK."""
        slot, source = self.nodes[0].run("CLUSTER", "KEYSLOT", key), self.owner(key)
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id())
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id())

    def end_moving(self, key: str, target: RedisServer) -> None:
        """Give the slot of `key` to `target`: other nodes answer MOVED."""
        slot = self.nodes[0].run("CLUSTER", "KEYSLOT", key)
        for node in (target, *self.nodes):
            node.run("CLUSTER", "SETSLOT", slot, "NODE", target.node_id())

    def owner(self, key: str) -> RedisServer:
        """Return the master that has the slot of `key`."""
        slot = self.nodes[0].run("CLUSTER", "KEYSLOT", key)
        for first, last, primary, *_ in self.nodes[0].run("CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == primary[1])
        raise LookupError(key)

    def is_whole(self) -> bool:
        """Whether every node that runs knows all of them and finds every slot served."""
        running = [node for node in self.nodes if node.runs]
        return all(_is_ok(node, len(self.nodes)) for node in running)


def _is_ok(node: RedisServer, count: int) -> bool:
    try:
        info = node.cluster_info()
    except RedisError:
        return False
    return bool(info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == count)


@contextmanager
def redis_cluster(
    *settings: str, masters: int = 3, replicas: int = 0, node_timeout: int = 2000
) -> Iterator[RedisCluster]:
    """Run a Cluster; `replicas` are per master, `node_timeout` is in milliseconds."""
    cluster_settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout), *settings)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(redis_server(*cluster_settings, with_bus=True)) for _ in range(masters * (1 + replicas))
        ]
        bounds = [16384 * each // masters for each in range(masters + 1)]
        for index, node in enumerate(nodes):
            node.run("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            if index < masters:
                node.run("CLUSTER", "ADDSLOTS", *range(bounds[index], bounds[index + 1]))
            else:
                nodes[0].run("CLUSTER", "MEET", "127.0.0.1", node.port)
            if 0 < index < masters:
                nodes[0].run("CLUSTER", "MEET", "127.0.0.1", node.port)
        cluster = RedisCluster(nodes=nodes, masters=masters)
        until(lambda: all(int(node.cluster_info()["cluster_known_nodes"]) == len(nodes) for node in nodes))
        for index, node in enumerate(nodes[masters:]):
            node.run("CLUSTER", "REPLICATE", nodes[index % masters].node_id())
        until(cluster.is_whole)
        until(lambda: all(_in_step(node) for node in nodes[masters:]))
        yield cluster


@dataclass(kw_only=True)
class RedisSentinels:
    """A primary, its replica, and three Sentinels that watch them under `name`."""

    name: str
    servers: list[RedisServer]
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        """The URL, which names every Sentinel."""
        return self.database(0)

    def database(self, number: int) -> str:
        """Return the URL of one database of the primary."""
        places = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"sentinel://{places}/{number}?master_name={self.name}"

    @property
    def primary(self) -> RedisServer:
        """The server that the first Sentinel takes for the primary."""
        _, port = self.sentinels[0].run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        return next(server for server in self.servers if server.port == int(port))

    def agree_on(self, server: RedisServer) -> bool:
        """Whether every Sentinel takes `server` for the primary, and so do the servers that run."""
        try:
            roles = {each.port: _role(each) for each in self.servers if each.runs}
            primaries = [port for port, role in roles.items() if role == "master"]
            return self._told() == {server.port} and primaries == [server.port]
        except (RedisError, OSError):
            return False

    def _fail_over_begun(self) -> bool:
        try:
            return bool(self.sentinels[0].run("SENTINEL", "FAILOVER", self.name))
        except ResponseError:  # it has not looked at the replica lately
            return False

    def _told(self) -> set[int]:
        return {int(each.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1]) for each in self.sentinels}

    def is_ready(self) -> bool:
        """Whether a fail-over could be made now: the Sentinels know each other, and the replica is in step."""
        for each in self.sentinels:
            state = _pairs(each.run("SENTINEL", "MASTER", self.name))
            known = int(state["num-slaves"]), int(state["num-other-sentinels"])
            if known != (len(self.servers) - 1, len(self.sentinels) - 1) or state["flags"] != "master":
                return False
        return all(_in_step(server) for server in self.servers if server.runs and _role(server) == "slave")

    def fail_over(self) -> RedisServer:
        """Make the replica the primary as the Sentinels do, and at once; return the new one.

        They let the old one go on for some ten seconds before they tell it that it is a replica; here it is told as
        soon as they agree on the new one.
        """
        old = self.primary
        until(self._fail_over_begun)
        (new,) = [server for server in self.servers if server is not old]
        until(lambda: self._told() == {new.port} and _role(new) == "master")
        with old.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", new.port)
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        until(lambda: self.agree_on(new))
        return new


@contextmanager
def redis_sentinels(*settings: str, down_after: int = 5000, name: str = "mymaster") -> Iterator[RedisSentinels]:
    """Run a primary, a replica and three Sentinels; `down_after` is in milliseconds.

    With a short one a busy machine makes them fail over by mistake.
    """
    quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *settings)
    with ExitStack() as stack:
        primary = stack.enter_context(redis_server(*quick))
        replica = stack.enter_context(redis_server(*quick, "--replicaof", f"127.0.0.1 {primary.port}"))
        until(lambda: _in_step(replica))
        sentinels = [stack.enter_context(_sentinel(name, primary.port, down_after)) for _ in range(3)]
        trio = RedisSentinels(name=name, servers=[primary, replica], sentinels=sentinels)
        until(trio.is_ready)
        yield trio


@contextmanager
def _sentinel(name: str, port: int, down_after: int) -> Iterator[RedisServer]:
    with TemporaryDirectory(prefix="celeriac-sentinel-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "sentinel.conf"
        file.write_text(
            f"sentinel monitor {name} 127.0.0.1 {port} 2\n"
            f"sentinel down-after-milliseconds {name} {down_after}\n"
            f"sentinel failover-timeout {name} 3000\n"
        )
        sentinel = RedisServer(folder=Path(folder), settings=("--sentinel",), file=str(file))
        try:
            sentinel.start()
            yield sentinel
        finally:
            sentinel.kill()


def _role(server: RedisServer) -> str:
    return str(server.info("replication")["role"])


def _in_step(replica: RedisServer) -> bool:
    info = replica.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def _pairs(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return {_text(key): _text(value) for key, value in reply.items()}
    words: Sequence[Any] = [_text(word) for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for what servers agree upon among themselves."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:g} s")
        time.sleep(0.02)
