"""Throwaway Redis servers in groups: a Cluster, and a primary with its replica under three Sentinels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.exceptions import RedisError, ResponseError
from redis_servers import RedisServer, redis_server, text


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
        """Make the replica the primary as one plans it, and at once; return the new one.

        Writes wait until the replica has all, so that none that was accepted is lost: Redis answers before the replica
        has it. Sentinels let the old primary go on for some ten seconds; here it is told as soon as they agree.
        """
        old = self.primary
        (new,) = [server for server in self.servers if server is not old]
        old.run("CLIENT", "PAUSE", 20_000, "WRITE")
        until(lambda: _offset(new) >= _offset(old))
        until(self._fail_over_begun)
        until(lambda: self._told() == {new.port} and _role(new) == "master")
        with old.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", new.port)
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "UNPAUSE")
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


def _offset(server: RedisServer) -> int:
    return int(server.info("replication")["master_repl_offset"])


def _role(server: RedisServer) -> str:
    return str(server.info("replication")["role"])


def _in_step(replica: RedisServer) -> bool:
    info = replica.info("replication")
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def _pairs(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return {text(key): text(value) for key, value in reply.items()}
    words: Sequence[Any] = [text(word) for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for what servers agree upon among themselves."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:g} s")
        time.sleep(0.02)
