"""Redis behind every kind of door: what the contract suites run on besides a plain server.

A place is what the suites call a harness module: each of its functions gives a fresh, empty store.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis_groups import RedisCluster, RedisSentinels, redis_cluster, redis_sentinels
from redis_servers import RedisServer, redis_server, socket_server, tls_server

from celeriac.model.address import Address
from celeriac.spi.service import Context
from celeriac.spi.transport import Transport
from celeriac.testing.harness import StoreHarness
from celeriac_redis.coordinator import RedisCoordinator
from celeriac_redis.results import RedisResultStore
from celeriac_redis.transport import RedisClusterTransport, RedisTransport

LEASE_SECONDS = 1.0

WORKER_RIGHTS = (
    "~*", "&*", "+@read", "+@write", "+@pubsub", "+@scripting", "+@transaction", "+@connection", "-@dangerous",
    "+time", "+info", "+role", "+cluster|slots",
)  # fmt: skip
"""What docs/how-to/run-on-redis.md gives to the user of workers and clients."""


class Place:
    """Stores that are lent out one by one: each of `urls` is one, which `empty` empties, given its number."""

    def __init__(self, urls: Sequence[str], empty: Callable[[int], Any], **options: Any) -> None:
        self.empty = empty
        self.options = options
        self._urls = urls
        self._free = list(range(len(urls)))

    @contextmanager
    def _store(self) -> Iterator[str]:
        number = self._free.pop(0)
        try:
            self.empty(number)
            yield self._urls[number]
        finally:
            self._free.append(number)

    @contextmanager
    def transport(self) -> Iterator[StoreHarness[Transport]]:
        options = {"lease_seconds": LEASE_SECONDS, **self.options}
        steady = {"lease_seconds": 600.0}
        with self._store() as url:
            service = RedisClusterTransport if url.startswith("redis+cluster:") else RedisTransport
            yield StoreHarness(
                service,
                url,
                virtual=False,
                options=options,
                steady=steady,
                results=self._results,
                coordinator=self._coordinator,
            )

    @contextmanager
    def results(self) -> Iterator[StoreHarness[RedisResultStore]]:
        # Channels are no part of what is emptied, and the nodes of a Cluster pass announcements on when they like.
        options = {"global_keyprefix": f"{uuid.uuid4().hex}:", **self.options}
        with self._store() as url:
            yield StoreHarness(RedisResultStore, url, virtual=False, options=options)

    @contextmanager
    def coordinator(self) -> Iterator[StoreHarness[RedisCoordinator]]:
        with self._store() as url:
            yield StoreHarness(RedisCoordinator, url, virtual=False, options=self.options)

    def _coordinator(self, address: Address, context: Context) -> RedisCoordinator:
        return RedisCoordinator(address, Context(clock=context.clock, holder=context.holder, options=self.options))

    def _results(self, address: Address, context: Context) -> RedisResultStore:
        return RedisResultStore(address, Context(clock=context.clock, holder=context.holder, options=self.options))


def server_place(server: RedisServer, **options: Any) -> Place:
    """Return the place of a single server."""
    return Place(
        [server.database(number) for number in range(4)],
        lambda number: server.run_in(number, "FLUSHDB"),
        **options,
    )


def cluster_place(cluster: RedisCluster) -> Place:
    """Return the place of a Cluster, whose one database holds several stores under prefixes of their own."""
    return Place([f"{cluster.url}?global_keyprefix=store{number}-" for number in range(4)], lambda _: cluster.empty())


def sentinel_place(trio: RedisSentinels) -> Place:
    """Return the place of a primary that Sentinels know."""
    return Place([trio.database(number) for number in range(4)], lambda number: trio.primary.run_in(number, "FLUSHDB"))


@contextmanager
def cluster() -> Iterator[Place]:
    """Give a Cluster of three masters."""
    with redis_cluster() as nodes:
        yield cluster_place(nodes)


@contextmanager
def sentinels() -> Iterator[Place]:
    """Give a primary with a replica under three Sentinels."""
    with redis_sentinels() as trio:
        yield sentinel_place(trio)


@contextmanager
def tls() -> Iterator[Place]:
    """Give a server that speaks TLS only."""
    with tls_server() as server:
        yield server_place(server)


@contextmanager
def unix_socket() -> Iterator[Place]:
    """Give a server at a Unix socket."""
    with socket_server() as server:
        yield server_place(server)


@contextmanager
def few_rights() -> Iterator[Place]:
    """Give a server to a user who has the rights that the documentation asks for, and no other."""
    root = {"username": "default", "password": "secret"}
    rights = ("--user", "worker", "on", ">password", *WORKER_RIGHTS, "--requirepass", "secret")
    with redis_server(*rights, user="worker", password="password", administrator=root) as server:
        yield server_place(server)
