"""What a plugin provides so that the contract suites can test it.

A distribution names one module in the entry point group `celeriac.harnesses`. That module defines those of the
functions `transport`, `results`, `coordinator`, `serializer` and `pool` for which it has a plugin. Each is a context
manager: it yields a harness over a fresh, empty store and removes everything at the end. It imports no pytest.

For most plugins `StoreHarness`, `SerializerHarness` and `PoolHarness` are all that is needed:

    @contextmanager
    def transport() -> Iterator[StoreHarness[MyTransport]]:
        with TemporaryDirectory() as folder:
            yield StoreHarness(MyTransport, f"mine:///{folder}/queue", results=MyResults)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import Any, Final, Generic, Literal, TypeVar, cast

from msgspec import Struct, field

from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.model.address import Address
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.pool import Pool, PoolContext
from celeriac.spi.results import ResultStore
from celeriac.spi.serializer import Serializer
from celeriac.spi.service import Context, Service

__all__ = ["Kind", "PoolHarness", "SerializerHarness", "StoreHarness", "harness_modules", "open_harness"]

S = TypeVar("S", bound=Service)
Kind = Literal["transport", "results", "coordinator", "serializer", "pool"]


class StoreHarness(Generic[S]):
    """Connections to one fresh store, for transports, result stores and coordinators.

    Args:
        service: The class under test.
        url: The address of the fresh store.
        virtual: The store tells delays, leases and expiry by `Context.clock`, so that a test can move time. False for
            a store with a clock of its own, such as a server: tests wait in real time, so give such a transport a
            lease of about a second by `options`.
        options: Options of the plugin for every connection.
        steady: More options, for tests in which no lease may lapse however slow the machine is.
        results: For a transport that `commits`: the class of the result store that lives at the same address.
        coordinator: For a transport that checks `revocations`: the class of the coordinator that lives at the same
            address.
        patience: After how many real seconds a test gives up on what should happen.
    """

    def __init__(
        self,
        service: Callable[[Address, Context], S],
        url: str,
        *,
        virtual: bool = True,
        options: Mapping[str, Any] | None = None,
        steady: Mapping[str, Any] | None = None,
        results: Callable[[Address, Context], ResultStore] | None = None,
        coordinator: Callable[[Address, Context], Coordinator] | None = None,
        patience: float = 10.0,
    ) -> None:
        self.service = service
        self.address: Address = Address.parse(url)
        self.virtual = virtual
        self.options: dict[str, Any] = dict(options or {})
        self.steady: dict[str, Any] = dict(steady or {})
        self.results = results
        self.coordinator = coordinator
        self.patience = patience

    def connect(self, *, clock: Clock = SYSTEM_CLOCK, holder: str = "a", **options: Any) -> S:
        """Return a new, unopened connection to the store."""
        return self.service(self.address, Context(clock=clock, holder=holder, options={**self.options, **options}))

    def connect_results(self, *, clock: Clock = SYSTEM_CLOCK) -> ResultStore | None:
        """Return a new, unopened connection to the result store of the same address, if there is one."""
        return self.results(self.address, Context(clock=clock)) if self.results is not None else None

    def connect_coordinator(self, *, clock: Clock = SYSTEM_CLOCK) -> Coordinator | None:
        """Return a new, unopened connection to the coordinator of the same address, if there is one."""
        return self.coordinator(self.address, Context(clock=clock)) if self.coordinator is not None else None


class SerializerHarness(Struct, frozen=True, kw_only=True):
    """A serializer and what is special about it.

    `examples` are values beyond those of JSON that must come back equal. `hostile` are bytes that must be refused.
    """

    make: Callable[[], Serializer]
    examples: Sequence[Any] = ()
    hostile: Sequence[bytes] = field(default_factory=tuple)


_GROUPS: Final[Mapping[Kind, str]] = {
    "transport": "celeriac.transports",
    "results": "celeriac.results",
    "coordinator": "celeriac.coordinators",
    "serializer": "celeriac.serializers",
    "pool": "celeriac.pools",
}


class _Unimportable:
    """Stands in for a harness module that cannot be imported, so that its plugin's tests fail and no others."""

    def __init__(self, error: ImportError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


class PoolHarness(Struct, frozen=True, kw_only=True):
    """A pool: `make` returns a new one that was not started, of so many slots if it can have them.

    `patience` is after how many seconds a test gives up on what should happen at once. `needs_patch` names the entry
    point of the group `celeriac.patches` that should have run in this process, and has not: then it cannot be tested.
    """

    make: Callable[[int, PoolContext], Pool]
    patience: float = 10.0
    needs_patch: str = ""


def harness_modules(kind: Kind) -> dict[str, Any]:
    """Return the harness module of every installed distribution that has a plugin of this kind, by entry point.

    Only those modules are imported. One that cannot be raises its ImportError when its harness is opened.
    """
    modules: dict[str, Any] = {}
    for point in entry_points(group="celeriac.harnesses"):
        if point.dist is None or not point.dist.entry_points.select(group=_GROUPS[kind]):
            continue
        try:
            modules[point.name] = point.load()
        except ImportError as error:
            modules[point.name] = _Unimportable(error)
    return dict(sorted(modules.items()))


def open_harness(module: Any, kind: Kind) -> AbstractContextManager[Any]:
    """Start the harness of this kind that `module` defines."""
    return cast("AbstractContextManager[Any]", getattr(module, kind)())
