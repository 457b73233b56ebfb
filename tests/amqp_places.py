"""RabbitMQ behind every kind of door: what the contract suite runs on besides a plain virtual host.

A place is what the suites call a harness module: each of its functions gives a fresh, empty store.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlsplit

import trustme
from msgspec.structs import replace
from servers import free_port

from celeriac.testing.harness import StoreHarness
from celeriac_amqp.testing import Server, running_server, server
from celeriac_amqp.transport import AmqpTransport

QUEUES = ("q", "low", "high", "nowhere", "other")
"""What the parts of the suite use that run as a user who may declare nothing."""


class QuorumTransport(AmqpTransport):
    """RabbitMQ 3 keeps no priorities in quorum queues."""

    capabilities = replace(AmqpTransport.capabilities, priorities=0)


class Place:
    """Fresh virtual hosts of a server. `url` is made by `door` from the URL of each."""

    service: type[AmqpTransport] = AmqpTransport

    def __init__(self, at: Server, **options: Any) -> None:
        self.at = at
        self.options: Mapping[str, Any] = options
        self.names = (f"place {number}" for number in itertools.count())

    def door(self, url: str) -> str:
        return url

    @contextmanager
    def transport(self) -> Iterator[StoreHarness[AmqpTransport]]:
        with self.at.vhost(next(self.names)) as url:
            yield StoreHarness(self.service, self.door(url), virtual=False, options=self.options)


class _Quorum(Place):
    """The queue that most tests use is there already.

    RabbitMQ 3 closes the connection of who asks for a quorum queue that another one is just making, with 541
    INTERNAL_ERROR. A worker connects again; a test that begins with both would see it.
    """

    service = QuorumTransport

    def door(self, url: str) -> str:
        declared = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
        self.at.call("PUT", f"queues/{urlsplit(url).path[1:]}/q", declared)
        return url


class _Tls(Place):
    def __init__(self, at: Server, port: int, **options: Any) -> None:
        super().__init__(at, **options)
        self._port = port

    def door(self, url: str) -> str:
        return f"amqps://guest:guest@localhost:{self._port}{urlsplit(url).path}"


class _Behind(Place):
    """The first host that is named does not answer."""

    def door(self, url: str) -> str:
        parts = urlsplit(url)
        return f"amqp://guest:guest@127.0.0.1:{free_port()},{parts.hostname}:{parts.port}{parts.path}"


class _Alternatives(Place):
    """As Celery writes several brokers."""

    def door(self, url: str) -> str:
        return f"amqp://guest:guest@127.0.0.1:{free_port()}//;{url}".replace("//;", f"{urlsplit(url).path};", 1)


class _FewRights(Place):
    """A user who may write and read, and finds all queues declared."""

    def door(self, url: str) -> str:
        path = urlsplit(url).path
        vhost = path[1:]
        for name in QUEUES:
            self.at.call("PUT", f"queues/{vhost}/{name}", {"durable": True})
        self.at.call("PUT", "users/worker", {"password": "p/w:1", "tags": ""})
        self.at.call("PUT", f"permissions/{vhost}/worker", {"configure": "^$", "write": ".*", "read": ".*"})
        parts = urlsplit(url)
        return f"amqp://worker:{quote('p/w:1', safe='')}@{parts.hostname}:{parts.port}{path}"


@contextmanager
def quorum() -> Iterator[Place]:
    yield _Quorum(server(), queue_type="quorum")


@contextmanager
def tls() -> Iterator[Place]:
    """A server that asks for the client's certificate too."""
    authority = trustme.CA()
    with TemporaryDirectory() as folder:
        files = {name: str(Path(folder) / name) for name in ("authority", "key", "server", "client_key", "client")}
        authority.cert_pem.write_to_path(files["authority"])
        for side, key, certificate in (("localhost", "key", "server"), ("a@b.org", "client_key", "client")):
            issued = authority.issue_cert(side)
            issued.private_key_pem.write_to_path(files[key])
            issued.cert_chain_pems[0].write_to_path(files[certificate])
        port = free_port()
        config = {
            "listeners.ssl.1": f"127.0.0.1:{port}",
            "ssl_options.cacertfile": files["authority"],
            "ssl_options.certfile": files["server"],
            "ssl_options.keyfile": files["key"],
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
        }
        with running_server(**config) as node:
            yield _Tls(
                node,
                port,
                ssl_ca_certs=files["authority"],
                ssl_certfile=files["client"],
                ssl_keyfile=files["client_key"],
            )


@contextmanager
def first_host_down() -> Iterator[Place]:
    yield _Behind(server())


@contextmanager
def alternatives() -> Iterator[Place]:
    yield _Alternatives(server())


@contextmanager
def odd_names() -> Iterator[Place]:
    """Virtual hosts whose names have a slash, a space and a percent sign."""
    place = Place(server())
    place.names = (f"/an odd/100% {number}" for number in itertools.count())
    yield place


@contextmanager
def few_rights() -> Iterator[Place]:
    yield _FewRights(server())
