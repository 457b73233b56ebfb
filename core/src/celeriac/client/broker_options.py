"""Celery's settings of the broker that are options of the transport here: those of its plugin that knows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from celeriac.errors import ConfigurationError, InvalidSetting

if TYPE_CHECKING:
    from celeriac.config.settings import Settings

__all__ = ["broker_options"]

_OPTIONS: Final[Mapping[str, str]] = {
    "broker_heartbeat": "heartbeat",
    "broker_login_method": "login_method",
    "broker_failover_strategy": "failover_strategy",
    "broker_native_delayed_delivery_queue_type": "native_delayed_delivery_queue_type",
}
_TLS: Final = ("ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname")
_REQUIREMENTS: Final = ("none", "optional", "required")
"""By their number in `ssl.VerifyMode`, which is not imported here for its cost."""


def broker_options(conf: Settings, known: Collection[str], scheme: str) -> dict[str, Any]:
    """Return the options of the broker's transport: those of `broker_transport_options`, and of settings of their own.

    Where both name one, the former wins. `known` are the options that the transport has.

    Raises: ConfigurationError: a setting is for an option that it does not have.
    """
    found: dict[str, Any] = {}
    for setting, option in _OPTIONS.items():
        value = conf[setting]
        if value is not None:
            _check_known(setting, option, known, scheme)
            found[option] = value
    if conf.broker_use_ssl:
        _check_known("broker_use_ssl", "ssl", known, scheme)
        found.update(_tls(conf.broker_use_ssl, known))
    return {**found, **conf.broker_transport_options}


def _check_known(setting: str, option: str, known: Collection[str], scheme: str) -> None:
    if option not in known:
        raise ConfigurationError(
            f"`{setting}` is set, and the {scheme} transport has no option `{option}`. Remove the setting."
        )


def _tls(given: Any, known: Collection[str]) -> dict[str, Any]:
    """Return the options that `broker_use_ssl` stands for: Celery's names, with or without the `ssl_` of some."""
    found: dict[str, Any] = {"ssl": True}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        short = name.removeprefix("ssl_") if isinstance(name, str) else ""
        option = f"ssl_{short}"
        if short not in _TLS or option not in known:
            expected = f"true, or a mapping with some of {', '.join(_TLS)}"
            raise InvalidSetting("broker_use_ssl", name, expected)
        found[option] = _requirement(value) if short == "cert_reqs" else value
    return found


def _requirement(value: Any) -> Any:
    """Return the word for what `ssl` has numbers for; words, also those of its constants, are taken as they are."""
    if isinstance(value, str):
        return value.removeprefix("CERT_").lower()
    return _REQUIREMENTS[value] if value in range(len(_REQUIREMENTS)) else value
