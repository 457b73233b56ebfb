"""Opening connections: to a server, a socket, the primary that sentinels know, or a node of a cluster.

TLS, AUTH, SELECT and the questions to sentinels are redis-py's work.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import redis.exceptions
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.credentials import CredentialProvider
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from celeriac.errors import DeadlineExceeded
from celeriac_redis.location import Credentials, Location, Node
from celeriac_redis.replies import LinkLost, connecting_error
from celeriac_redis.wire import Wire, pack

__all__ = ["Dialler"]


class _Provider(CredentialProvider):
    """Asks the function that the user named."""

    def __init__(self, ask: Credentials) -> None:
        self._ask = ask

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            user, password = self._ask()
        except Exception as error:
            raise LinkLost(f"the credential provider failed: {type(error).__name__}: {error}") from error
        return (user, password) if user else (password,)


class Dialler:
    """Opens wires to one location."""

    def __init__(self, location: Location) -> None:
        self.location: Location = location

    def dial(self, end: float, node: Node | None = None) -> Wire:
        """Connect, until the moment `end` of the monotonic clock, to the store or to one node of its cluster.

        Raises: DeadlineExceeded: that moment has passed. LinkLost: nobody answers. Refused: the server does not
        take us for somebody it serves.
        """
        location = self.location
        timeout = end - monotonic()
        if timeout <= 0:
            raise DeadlineExceeded(f"{location.label} at connecting", max(timeout, 0.0))
        timeout = min(timeout, location.connect_seconds)
        try:
            if location.kind == "socket":
                return self._connected(UnixDomainSocketConnection, None, timeout, path=location.path)
            if location.kind == "sentinel":
                return self._primary(timeout)
            return self._server(node or location.nodes[0], timeout)
        except redis.exceptions.RedisError as error:
            raise connecting_error(error, location.label, retry=location.credentials is not None) from error
        except OSError as error:
            if isinstance(error, LinkLost):
                raise
            raise LinkLost(f"cannot connect: {error}") from error

    def _server(self, node: Node, timeout: float) -> Wire:
        host, port = node
        tls = self.location.tls
        kind = Connection if tls is None else SSLConnection
        return self._connected(
            kind, node, timeout, host=host, port=port, socket_keepalive=self.location.keepalive, **(tls or {})
        )

    def _connected(
        self, make: Callable[..., AbstractConnection], node: Node | None, timeout: float, **arguments: Any
    ) -> Wire:
        location = self.location
        who: dict[str, Any] = {"username": location.user, "password": location.password}
        if location.credentials is not None:
            who = {"credential_provider": _Provider(location.credentials)}
        connection: AbstractConnection = make(
            db=location.database,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            client_name=location.client_name or None,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            **who,
            **arguments,
        )
        cast("Any", connection).connect()
        return Wire(connection, node)

    def _primary(self, timeout: float) -> Wire:
        """Ask the sentinels for the primary and make sure that it believes to be one itself."""
        location = self.location
        end = monotonic() + timeout
        # One that is down must not use up the time of the others.
        each = timeout / (len(location.nodes) + 1)
        asking = {
            "socket_timeout": each,
            "socket_connect_timeout": each,
            "retry": Retry(NoBackoff(), 0),
            **location.sentinel_kwargs,
        }
        sentinels = cast("Any", Sentinel)(
            list(location.nodes), min_other_sentinels=location.min_other_sentinels, sentinel_kwargs=asking
        )
        try:
            node: Node = sentinels.discover_master(location.service)
        except MasterNotFoundError as error:
            raise LinkLost(f"cannot connect: the sentinels know no primary {location.service!r} ({error})") from error
        finally:
            for each_sentinel in sentinels.sentinels:
                each_sentinel.close()
        wire = self._server(node, max(end - monotonic(), 0.001))
        (role,) = wire.call(pack(("ROLE",)), 1, end)
        if not isinstance(role, list) or role[0] == b"master":
            return wire
        wire.close()
        raise LinkLost(f"cannot connect: {node[0]}:{node[1]} is no primary any more; a failover is under way")
