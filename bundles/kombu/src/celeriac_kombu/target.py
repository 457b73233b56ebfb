"""Which transport of kombu an address names, what it can do, and how a connection to it is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import kombu
from kombu.transport import get_transport_cls, virtual
from msgspec.structs import replace

from celeriac.errors import ConfigurationError, MissingDependency
from celeriac.model.address import Address
from celeriac.spi.transport import TransportCapabilities
from celeriac_kombu.kinds import kind_of

__all__ = ["Target"]

_PREFIX: Final = "kombu+"
_EXCHANGES: Final = frozenset({"direct", "topic", "fanout"})


class Target:
    """A broker that kombu reaches.

    Raises: MissingDependency: what kombu needs for it is not installed; names it. ConfigurationError: kombu has no such
        transport, or its options cannot serve a worker.
    """

    def __init__(
        self,
        address: Address,
        options: Mapping[str, Any],
        *,
        ssl: Any = False,
        login_method: str = "",
        polling_interval: float = 0.0,
    ) -> None:
        self.address = address
        self.url: str = address.url[len(_PREFIX) :] if address.url.lower().startswith(_PREFIX) else ""
        self.scheme: str = self.url.partition("://")[0].partition("+")[0]
        self.kind = kind_of(self.scheme)
        self._options = dict(options)
        self._polling = polling_interval
        self._arguments = {"ssl": ssl, "login_method": login_method or None}
        self.transport_class: Any = self._find()
        self.virtual: bool = issubclass(self.transport_class, virtual.Transport)
        if self.kind.name == "amqp":
            self._options.setdefault("confirm_publish", True)
        if self.kind.name == "filesystem":
            self._check_folders()

    @property
    def key(self) -> str:
        """What tells two brokers apart."""
        return f"{self.url} {sorted(self._options.items(), key=repr)}"

    @property
    def polling_seconds(self) -> float:
        """The longest pause between two looks for messages: kombu's own."""
        # kombu's brokers that push, and Redis, have none: they are asked often.
        own = getattr(self.transport_class, "polling_interval", None)
        return max(0.001, self._polling or own or 0.1)

    def connection(self) -> Any:
        """Return a new connection of kombu, which is not open yet."""
        options = dict(self._options)
        if self.kind.name == "filesystem":
            return kombu.Connection(self.url, transport=_safe_files(), transport_options=options, **self._arguments)
        return kombu.Connection(self.url, transport_options=options, **self._arguments)

    def narrow(self, most: TransportCapabilities) -> TransportCapabilities:
        """Return what this transport can do of what any can."""
        exchanges = frozenset(self.transport_class.implements.exchange_type) & _EXCHANGES
        if self.virtual and not self.transport_class.Channel.supports_fanout:
            exchanges -= {"fanout"}
        kind = self.kind
        reach = "machine" if kind.name == "sqlalchemy" and "sqlite" in self.url.partition("://")[0] else kind.reach
        return replace(
            most,
            exchanges=exchanges,
            priorities=kind.priorities,
            durable=kind.durable,
            reach=reach,
            guarantee=kind.guarantee,
        )

    def missing(self, error: ImportError) -> MissingDependency:
        """Return the error that tells what to install."""
        extra = f'pip install "kombu[{self.kind.needs}]"' if self.kind.needs else "pip install its client library"
        driver = (
            f", and {error.name}, which the URL names" if error.name and "+" in self.url.partition("://")[0] else ""
        )
        return MissingDependency("transport", _PREFIX + self.scheme, error, fix=f"Run: {extra}{driver}.")

    def _find(self) -> Any:
        if not self.scheme:
            raise ConfigurationError(
                f"{self.address} names no transport of kombu. Put kombu's URL after the sign: kombu+filesystem://."
            )
        try:
            return get_transport_cls(self.scheme)
        except ImportError as error:
            raise self.missing(error) from error
        except KeyError as error:
            raise ConfigurationError(f"kombu {kombu.__version__}: {error.args[0]} (in {self.address}).") from error

    def _check_folders(self) -> None:
        """Refuse different folders for what goes in and out: what a worker gives back would come to another reader."""
        folders = {self._options.get("data_folder_in", "data_in"), self._options.get("data_folder_out", "data_out")}
        if len(folders) != 1:
            raise ConfigurationError(
                "A worker also writes to the queues that it reads. Set `data_folder_in` and `data_folder_out` in"
                " `broker_transport_options` to one folder, the same for all programs."
            )
        for folder in folders:
            Path(folder).mkdir(parents=True, exist_ok=True)


def _safe_files() -> Any:
    from celeriac_kombu.files import SafeTransport  # noqa: PLC0415  needs a system that locks files, as few do not

    return SafeTransport
