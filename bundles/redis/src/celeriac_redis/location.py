"""Where a store is and how it is reached, said once and checked before the first connection."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct, field

from celeriac.errors import ConfigurationError, InvalidSetting
from celeriac.model.address import Address

__all__ = ["Credentials", "Kind", "Location", "Node", "locate"]

Kind = Literal["server", "socket", "sentinel", "cluster"]
Node = tuple[str, int]
Credentials = Callable[[], tuple[str, str]]
"""Gives user and password, anew for each connection; an empty user is the default one."""

_KINDS: Final[Mapping[str, tuple[Kind, bool]]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "valkey": ("server", False),
    "valkeys": ("server", True),
    "redis+socket": ("socket", False),
    "sentinel": ("sentinel", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PORTS: Final[Mapping[Kind, int]] = {"server": 6379, "socket": 0, "sentinel": 26379, "cluster": 6379}
_REQUIREMENTS: Final = {"required": "required", "optional": "optional", "none": "none"} | {
    f"cert_{name}": name for name in ("required", "optional", "none")
}


class Location(Struct, frozen=True, kw_only=True):
    """One store.

    `nodes` are the server, the sentinels, or some nodes of the cluster; `path` is that of a socket; `service` the name
    under which the sentinels know the primary. `label` is the URL without its password. `tls` holds redis-py's
    arguments for TLS, None without it.
    """

    kind: Kind
    label: str
    nodes: tuple[Node, ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    user: str | None = None
    password: str | None = None
    credentials: Credentials | None = None
    tls: dict[str, Any] | None = None
    sentinel_kwargs: dict[str, Any] = field(default_factory=dict)
    min_other_sentinels: int = 0
    client_name: str = ""
    connect_seconds: float = 5.0
    keepalive: bool = True
    idle_connections: int = 10
    eviction_allowed: bool = False

    def same_store(self, other: Location) -> bool:
        """Whether one transaction can cover both: the same server and database, said in the same way."""
        return self._identity == other._identity

    @property
    def _identity(self) -> tuple[object, ...]:
        if self.kind == "sentinel":
            return (self.kind, self.service, frozenset(self.nodes), self.database)
        return (self.kind, frozenset(self.nodes), self.path and os.path.realpath(self.path), self.database)


def locate(address: Address, option: Mapping[str, Any]) -> Location:
    """Read a URL and the options of a plugin, as `Service.option` holds them.

    Raises: ConfigurationError: one of them makes no sense; says which, and the fix.
    """
    kind, tls = _KINDS[address.scheme]
    hosts = address.hosts or (("localhost", None),)
    nodes = tuple((host or "localhost", port or _PORTS[kind]) for host, port in hosts)
    if kind == "socket":
        nodes = ()
    elif kind == "server" and len(nodes) > 1:
        raise ConfigurationError(f"{address} names several servers. Use redis+cluster:// or sentinel:// for them.")
    return Location(
        kind=kind,
        label=address.masked,
        nodes=nodes,
        path=_socket_path(address) if kind == "socket" else "",
        service=_service(address, option) if kind == "sentinel" else "",
        database=_database(address, kind, option),
        user=address.user or None,
        password=address.password or None,
        credentials=_credentials(option["credential_provider"], address.scheme),
        tls=_tls(address, option, wanted=tls or option["ssl"]),
        sentinel_kwargs=dict(option["sentinel_kwargs"]),
        min_other_sentinels=option["min_other_sentinels"],
        client_name=option["client_name"],
        connect_seconds=option["socket_connect_timeout"],
        keepalive=option["socket_keepalive"],
        idle_connections=option["max_connections"],
        eviction_allowed=option["allow_eviction"],
    )


def _socket_path(address: Address) -> str:
    if address.host or not address.path.strip("/"):
        raise ConfigurationError(f"{address} names no socket: write redis+socket:///absolute/path, with three slashes.")
    return address.path


def _service(address: Address, option: Mapping[str, Any]) -> str:
    name = option["master_name"]
    if not name:
        raise ConfigurationError(
            f"{address} does not say which primary the sentinels are to be asked for."
            " Add `master_name`, as in sentinel://host:26379/0?master_name=mymaster, or set it in the options."
        )
    return str(name)


def _database(address: Address, kind: Kind, option: Mapping[str, Any]) -> int:
    text = option["virtual_host"] if kind == "socket" else address.path
    text = text.strip("/")
    if not text.isdecimal() and text:
        raise ConfigurationError(f"{address}: the database is a number, as in redis://host:6379/0, not {text!r}.")
    number = int(text or 0)
    if number and kind == "cluster":
        raise ConfigurationError(f"{address}: a cluster has database 0 only. Remove /{number} from the URL.")
    return number


def _credentials(given: Any, scheme: str) -> Credentials | None:
    if not given:
        return None
    if not isinstance(given, str):
        if callable(given):
            found: Credentials = given
            return found
        raise InvalidSetting("credential_provider", given, "a function or its dotted name", source=scheme)
    module, _, name = given.replace(":", ".").rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"`credential_provider` {given!r} cannot be imported: {error}. Name a function as package.module:function."
        ) from error
    if not callable(function):
        raise InvalidSetting("credential_provider", given, "the dotted name of a function", source=scheme)
    provider: Credentials = function
    return provider


def _tls(address: Address, option: Mapping[str, Any], *, wanted: bool) -> dict[str, Any] | None:
    if not wanted:
        _refuse_clear_text(address, option)
        return None
    requirement = str(option["ssl_cert_reqs"]).lower()
    if requirement not in _REQUIREMENTS:
        raise InvalidSetting(
            "ssl_cert_reqs", option["ssl_cert_reqs"], "required, optional or none", source=address.scheme
        )
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option[name] and not Path(option[name]).is_file():
            raise ConfigurationError(f"{address}: `{name}` is {option[name]!r}, and there is no such file.")
    return {
        "ssl_cert_reqs": _REQUIREMENTS[requirement],
        "ssl_check_hostname": option["ssl_check_hostname"] and _REQUIREMENTS[requirement] != "none",
        "ssl_ca_certs": option["ssl_ca_certs"] or None,
        "ssl_certfile": option["ssl_certfile"] or None,
        "ssl_keyfile": option["ssl_keyfile"] or None,
    }


def _refuse_clear_text(address: Address, option: Mapping[str, Any]) -> None:
    """Refuse to talk in the clear to a store for which certificates are named."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option[name]:
            raise ConfigurationError(
                f"{address}: `{name}` is set, but this URL means a connection without TLS."
                " Write rediss:// (rediss+cluster://), or set the option `ssl`."
            )
