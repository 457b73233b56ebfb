"""The connections of one app and process: opened when first needed, shared by all threads, opened anew after a fork."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from celeriac.client.broker_options import broker_options
from celeriac.client.identity import new_id, process_id
from celeriac.config.embedded import broker_url, result_url
from celeriac.errors import ConfigurationError, DeadlineExceeded, StoreLost, Unsupported
from celeriac.kernel import plugins
from celeriac.model.address import Address
from celeriac.model.message import Message
from celeriac.model.routing import bound
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.results import ResultCapabilities, ResultStore
from celeriac.spi.service import Context, Service
from celeriac.spi.transport import Declares, Transport

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["Connections"]

logger: logging.Logger = logging.getLogger(__name__)

AnyService = TypeVar("AnyService", bound=Service)

_inherited: list[Service] = []
"""Connections of a parent process. They are kept, untouched: closing or collecting them would disturb the parent's."""


class Connections:
    """The client's one transport, result store and coordinator, and new ones for a worker."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._found: tuple[int, bool] = (-1, False)
        self._address: tuple[int, Address | None] = (-1, None)
        """Of which revision of the settings it is, and where results are kept."""
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._holder = new_id()
        self._open: dict[str, Service] = {}
        self._declared = -1
        self._listens = False

    def _check_fork(self) -> None:
        if self._pid != os.getpid():
            # The lock may be held by a thread that does not exist here; so nothing of the parent's is used.
            _inherited.extend(self._open.values())
            self._start()

    # -- addresses ---------------------------------------------------------------------------------

    @property
    def broker_address(self) -> Address:
        """Where the broker is."""
        return Address.parse(broker_url(self._app.conf))

    @property
    def results_address(self) -> Address | None:
        """Where results are kept; None where they are not."""
        revision = self._app.conf.revision
        if self._address[0] != revision:
            url = result_url(self._app.conf)
            self._address = (revision, None if url is None else Address.parse(url))
        return self._address[1]

    def chosen_plugins(self) -> list[tuple[str, str]]:
        """Return kind and name of each installed plugin that the settings choose."""
        conf, results = self._app.conf, self.results_address
        schemes = {self.broker_address.scheme, *([results.scheme] if results is not None else [])}
        chosen = [
            (kind, _plugin_name(kind, scheme)) for kind in ("transport", "results", "coordinator") for scheme in schemes
        ]
        chosen += [("serializer", name) for name in (conf.task_serializer, conf.result_serializer)]
        return sorted({(kind, name) for kind, name in chosen if name in plugins.names(kind)})

    # -- the client's ------------------------------------------------------------------------------

    def transport(self, timeout: float | None = None) -> Transport:
        """Return the client's open transport, within `timeout` seconds (None: `broker_connection_timeout`).

        Raises: TransportLost, DeadlineExceeded and other StoreErrors: it cannot be opened.
        """
        transport: Transport = self._shared("transport", lambda: self.new_transport(self._holder), timeout)
        if self._declared != self._app.router.revision:
            self._declare(transport, timeout)
        return transport

    def results(self) -> ResultStore:
        """Return the client's open result store.

        Raises: ConfigurationError: results are not kept. StoreLost and other StoreErrors: it cannot be opened.
        """
        results: ResultStore = self._shared("results", self.new_results, None)
        return results

    @property
    def replies(self) -> bool:
        """Whether the result store sends each result to the process that asked for it."""
        revision = self._app.conf.revision
        if self._found[0] != revision:
            capabilities = self._results_capabilities()
            self._found = (revision, capabilities is not None and capabilities.replies)
        return self._found[1]

    def listen(self, messages: Sequence[Message], timeout: float) -> None:
        """Have the results of messages that are about to be published come here, if any is to.

        Raises: StoreLost, DeadlineExceeded and other StoreErrors: where they would come cannot be opened.
        """
        name = process_id()
        if self._listens or any(_asks(message, name) for message in messages):
            self._listens = True
            results = self._shared("results", self.new_results, timeout)
            try:
                results.listen(name, timeout=timeout)
            except (StoreLost, DeadlineExceeded):
                self.drop(results)
                raise

    def coordinator(self) -> Coordinator:
        """Return the client's open coordinator.

        Raises: ConfigurationError: neither broker nor result store has one.
        """
        coordinator: Coordinator = self._shared("coordinator", self.new_coordinator, None)
        return coordinator

    def _shared(self, key: str, make: Callable[[], Service], timeout: float | None) -> Any:
        if self._pid != os.getpid():
            self._check_fork()
        found = self._open.get(key)
        if found is None:
            with self._lock:
                found = self._open.get(key)
                if found is None:
                    found = self._opened(make(), timeout)
                    if key == "transport":
                        self._declared = -1
                    elif key == "results" and self._listens:
                        self._listen_again(found, timeout)
                    self._open[key] = found
        return found

    def _opened(self, service: AnyService, timeout: float | None) -> AnyService:
        try:
            service.open(timeout=self._app.conf.broker_connection_timeout if timeout is None else timeout)
        except BaseException:
            service.close()
            raise
        logger.debug("connected", extra={"event": "connected", "address": str(service.address)})
        return service

    def _listen_again(self, results: Any, timeout: float | None) -> None:
        """Have a connection that takes the place of another one receive what that did."""
        try:
            results.listen(process_id(), timeout=self._app.conf.result_timeout_seconds if timeout is None else timeout)
        except BaseException:
            results.close()
            raise

    def drop(self, service: Service) -> None:
        """Close a connection that broke; the next call opens another one."""
        with self._lock:
            for key, each in list(self._open.items()):
                if each is service:
                    del self._open[key]
        service.close()

    def close(self) -> None:
        """Close the client's connections. They open again when needed."""
        self._check_fork()
        with self._lock:
            services = list(self._open.values())
            self._open.clear()
            self._listens = False
        for service in services:
            service.close()

    def _declare(self, transport: Transport, timeout: float | None) -> None:
        """Declare queues before the first message goes there."""
        router = self._app.router
        with self._lock:
            revision = router.revision
            if isinstance(transport, Declares):
                transport.declare(
                    bound(router.queues.values()),
                    timeout=self._app.conf.broker_timeout_seconds if timeout is None else timeout,
                )
            else:
                self._refuse_exchanges(transport)
            self._declared = revision

    def _refuse_exchanges(self, transport: Transport) -> None:
        for queue in self._app.router.queues.values():
            kind = queue.exchange.type if queue.exchange else "direct"
            if kind != "direct":
                raise Unsupported(
                    f"queue {queue.name!r} on a {kind} exchange",
                    f"The {transport.address.scheme} transport",
                    _able_of_exchange(kind),
                )

    # -- new ones ----------------------------------------------------------------------------------

    def new_transport(self, holder: str) -> Transport:
        """Return a transport, not open yet, that takes messages in the name of `holder`."""
        address = self.broker_address
        transport: Transport = self._make("transport", address, holder, self._broker_options(address))
        return transport

    def _broker_options(self, address: Address) -> dict[str, Any]:
        """Return the options of the broker's transport."""
        known = plugins.load("transport", _plugin_name("transport", address.scheme)).options
        return broker_options(self._app.conf, known, address.scheme)

    def new_results(self) -> ResultStore:
        """Return a result store, not open yet.

        Raises: ConfigurationError: results are not kept; says what to set.
        """
        address = self.results_address
        if address is None:
            raise ConfigurationError(
                "This app keeps no results. Set `result_backend`, for example to sqlite:///results.db,"
                " in the client and in its workers."
            )
        options, holder = self._app.conf.result_backend_transport_options, self._holder
        name = _plugin_name("results", address.scheme)
        if self.replies and not address.host:
            address, options = self._of_broker(name, address, options)
        results: ResultStore = self._make("results", address, holder, options, name)
        return results

    def _of_broker(self, name: str, own: Address, options: dict[str, Any]) -> tuple[Address, dict[str, Any]]:
        """Return where the broker is, and with it those of its options that the result store of this name has too."""
        known, broker = plugins.load("results", name).options, self.broker_address
        theirs = self._broker_options(broker)
        query = {**{each: text for each, text in broker.query.items() if each in known}, **own.query}
        fitting = {each: value for each, value in theirs.items() if each in known}
        return replace(broker, query=query), {**fitting, **options}

    @property
    def joins(self) -> bool:
        """Whether the result store counts the members of joins, without which nothing can wait for a group."""
        address = self.results_address
        if address is None:
            return False
        declared = plugins.load("results", _plugin_name("results", address.scheme))
        return bool(declared.capabilities.joins)

    @property
    def chords(self) -> bool:
        """Whether the result store counts the members of joins where Celery's workers count them."""
        declared = self._results_capabilities()
        return declared is not None and declared.chords

    def _results_capabilities(self) -> ResultCapabilities | None:
        """Return what the result store can do, without importing its driver; None where there is no such store."""
        address = self.results_address
        if address is None:
            return None
        try:
            found = plugins.find("results", _plugin_name("results", address.scheme)).capabilities
        except ConfigurationError:  # whoever opens it is told
            return None
        return found if isinstance(found, ResultCapabilities) else None

    def new_coordinator(self) -> Coordinator:
        """Return a coordinator, not open yet: of the broker's system if it has one, else of the result store's.

        Raises: ConfigurationError: neither has one.
        """
        conf = self._app.conf
        places = [(self.broker_address, self._broker_options(self.broker_address))]
        if self.results_address is not None:
            places.append((self.results_address, conf.result_backend_transport_options))
        known = plugins.names("coordinator")
        for address, options in places:
            if _plugin_name("coordinator", address.scheme) in known:
                coordinator: Coordinator = self._make("coordinator", address, self._holder, options)
                return coordinator
        raise Unsupported("coordination between processes", f"The {places[0][0].scheme} transport", known)

    def _make(self, kind: str, address: Address, holder: str, options: dict[str, Any], name: str = "") -> Any:
        declared = plugins.load(kind, name or _plugin_name(kind, address.scheme))
        known = declared.options
        # Options of the broker's settings that only its transport knows are no error for its coordinator.
        fitting = options if kind != "coordinator" else {name: each for name, each in options.items() if name in known}
        return declared(address, Context(clock=self._app.clock, holder=holder, options=fitting))


def _asks(message: Message, name: str) -> bool:
    """Whether the result of a message is to be sent to this name."""
    return message.properties.get("reply_to") == name and not message.headers.get("ignore_result")


def _plugin_name(kind: str, scheme: str) -> str:
    """Return the plugin of a URL scheme: `db+postgresql` is the plugin `db` where none has the whole name."""
    known = plugins.names(kind)
    head = scheme.partition("+")[0]
    return head if scheme not in known and head in known else scheme


def _able_of_exchange(kind: str) -> list[str]:
    """Return the installed transports that know exchanges of a type."""
    declared = [(info.name, info.declaration) for info in plugins.installed("transport")]
    return [name for name, each in declared if each is not None and kind in each.capabilities.exchanges]
