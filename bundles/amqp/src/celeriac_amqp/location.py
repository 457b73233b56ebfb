"""Where a RabbitMQ is and how it is reached, said once and checked before the first connection."""

from __future__ import annotations

import random
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from celeriac.errors import ConfigurationError, InvalidSetting
from celeriac.model.address import Address

__all__ = ["Location", "Node", "locate"]

Node = tuple[str, int]

_PORT: Final = 5672
_TLS_PORT: Final = 5671
_MECHANISMS: Final = ("PLAIN", "AMQPLAIN", "EXTERNAL")
_STRATEGIES: Final = ("round-robin", "shuffle")
_TLS_SCHEMES: Final = ("amqps",)
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_REQUIREMENTS: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


class Location(Struct, frozen=True, kw_only=True):
    """One virtual host, on any node of one cluster. `label` is the URL without its password.

    `hosts` are tried in their order. `tls` holds py-amqp's arguments for TLS but the name of the host, None without it;
    `check_hostname`: whether the server's certificate must be made out to the host.
    """

    label: str
    hosts: tuple[Node, ...]
    virtual_host: str = "/"
    user: str = "guest"
    password: str = "guest"  # noqa: S105  what RabbitMQ itself comes with, for its own machine only
    tls: dict[str, Any] | None = None
    check_hostname: bool = False
    login_method: str = "PLAIN"
    heartbeat_seconds: float = 60.0
    connect_timeout_seconds: float = 5.0
    client_properties: dict[str, Any] = field(default_factory=dict)


def locate(address: Address, option: Mapping[str, Any]) -> Location:
    """Read a URL and the options of a plugin, as `Service.option` holds them.

    Raises: ConfigurationError: one of them makes no sense; says which, and the fix.
    """
    secure = address.scheme in _TLS_SCHEMES or option["ssl"]
    port = _TLS_PORT if secure else _PORT
    hosts = [(host or "localhost", number or port) for host, number in address.hosts or (("", None),)]
    if _one_of("failover_strategy", option["failover_strategy"], _STRATEGIES, address) == "shuffle":
        random.shuffle(hosts)
    if not secure:
        _refuse_clear_text(address, option)
    return Location(
        label=address.masked,
        hosts=tuple(hosts),
        # One slash ends the hosts, what follows is the name of the virtual host: that of `amqp://host//` is `/`.
        virtual_host=address.path[1:] or "/",
        user=address.user or "guest",
        password=address.password if address.password is not None else "guest",
        tls=_tls(address, option) if secure else None,
        check_hostname=option["ssl_check_hostname"] and option["ssl_cert_reqs"].lower() not in ("none", "cert_none"),
        login_method=_one_of("login_method", option["login_method"].upper(), _MECHANISMS, address),
        heartbeat_seconds=option["heartbeat"],
        connect_timeout_seconds=option["connect_timeout"],
        client_properties=dict(option["client_properties"]),
    )


def _one_of(name: str, value: str, known: tuple[str, ...], address: Address) -> str:
    if value not in known:
        raise InvalidSetting(name, value, f"one of {', '.join(known)}", source=address.scheme)
    return value


def _tls(address: Address, option: Mapping[str, Any]) -> dict[str, Any]:
    requirement = str(option["ssl_cert_reqs"]).lower().removeprefix("cert_")
    if requirement not in _REQUIREMENTS:
        raise InvalidSetting(
            "ssl_cert_reqs", option["ssl_cert_reqs"], "required, optional or none", source=address.scheme
        )
    for name in _FILES:
        if option[name] and not Path(option[name]).is_file():
            raise ConfigurationError(f"{address}: `{name}` is {option[name]!r}, and there is no such file.")
    return {
        "cert_reqs": _REQUIREMENTS[requirement],
        "ca_certs": option["ssl_ca_certs"] or None,
        "certfile": option["ssl_certfile"] or None,
        "keyfile": option["ssl_keyfile"] or None,
    }


def _refuse_clear_text(address: Address, option: Mapping[str, Any]) -> None:
    """Refuse to talk in the clear to a server for which certificates are named."""
    for name in _FILES:
        if option[name]:
            raise ConfigurationError(
                f"{address}: `{name}` is set, but this URL means a connection without TLS."
                " Write amqps://, or set the option `ssl`."
            )
