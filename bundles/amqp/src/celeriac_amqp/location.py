"""Where a RabbitMQ is and how it is reached, said once and checked before the first connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from celeriac.errors import ConfigurationError, InvalidSetting
from celeriac.model.address import Address

__all__ = ["Location", "Node", "Tls", "locate"]

Node = tuple[str, int]

_PORT: Final = 5672
_TLS_PORT: Final = 5671
_MECHANISMS: Final = ("PLAIN", "AMQPLAIN", "EXTERNAL")
_STRATEGIES: Final = ("round-robin", "shuffle")
_REQUIREMENTS: Final = {"required": "required", "optional": "optional", "none": "none"} | {
    f"cert_{name}": name for name in ("required", "optional", "none")
}


class Tls(Struct, frozen=True, kw_only=True):
    """How TLS is done. `requirement`: whether the server's certificate is checked: required, optional or none.

    `authorities`: a file of those that are trusted, None for the system's.
    """

    requirement: str = "required"
    check_hostname: bool = True
    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None


class Location(Struct, frozen=True, kw_only=True):
    """One virtual host, on any node of one cluster. `label` is the URL without its password; times are in seconds.

    `nodes` are tried one after another, beginning with the first, or with any of them if `shuffle`.
    """

    label: str
    nodes: tuple[Node, ...]
    virtual_host: str = "/"
    user: str = "guest"
    password: str = "guest"  # noqa: S105  what RabbitMQ itself comes with, for its own machine only
    tls: Tls | None = None
    mechanism: str = "PLAIN"
    shuffle: bool = False
    heartbeat: float = 60.0
    connect_seconds: float = 5.0
    client_properties: dict[str, Any] = field(default_factory=dict)


def locate(address: Address, option: Mapping[str, Any]) -> Location:
    """Read a URL and the options of a plugin, as `Service.option` holds them.

    Raises: ConfigurationError: one of them makes no sense; says which, and the fix.
    """
    secure = address.scheme == "amqps" or option["ssl"]
    port = _TLS_PORT if secure else _PORT
    if not secure:
        _refuse_clear_text(address, option)
    return Location(
        label=address.masked,
        nodes=tuple((host or "localhost", number or port) for host, number in address.hosts or (("", None),)),
        # One slash ends the host's name, what follows is the name of the virtual host: `amqp://host//` is `/`.
        virtual_host=address.path[1:] or "/",
        user=address.user or "guest",
        password=address.password if address.password is not None else "guest",
        tls=_tls(address, option) if secure else None,
        mechanism=_one_of("login_method", option["login_method"].upper(), _MECHANISMS, address),
        shuffle=_one_of("failover_strategy", option["failover_strategy"], _STRATEGIES, address) == "shuffle",
        heartbeat=option["heartbeat"],
        connect_seconds=option["connect_timeout"],
        client_properties=dict(option["client_properties"]),
    )


def _one_of(name: str, value: str, known: tuple[str, ...], address: Address) -> str:
    if value not in known:
        raise InvalidSetting(name, value, f"one of {', '.join(known)}", source=address.scheme)
    return value


def _tls(address: Address, option: Mapping[str, Any]) -> Tls:
    requirement = str(option["ssl_cert_reqs"]).lower()
    if requirement not in _REQUIREMENTS:
        raise InvalidSetting(
            "ssl_cert_reqs", option["ssl_cert_reqs"], "required, optional or none", source=address.scheme
        )
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option[name] and not Path(option[name]).is_file():
            raise ConfigurationError(f"{address}: `{name}` is {option[name]!r}, and there is no such file.")
    return Tls(
        requirement=_REQUIREMENTS[requirement],
        check_hostname=option["ssl_check_hostname"] and _REQUIREMENTS[requirement] != "none",
        authorities=option["ssl_ca_certs"] or None,
        certificate=option["ssl_certfile"] or None,
        key=option["ssl_keyfile"] or None,
    )


def _refuse_clear_text(address: Address, option: Mapping[str, Any]) -> None:
    """Refuse to talk in the clear to a server for which certificates are named."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option[name]:
            raise ConfigurationError(
                f"{address}: `{name}` is set, but this URL means a connection without TLS."
                " Write amqps://, or set the option `ssl`."
            )
