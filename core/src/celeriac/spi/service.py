"""What everything that talks to a store has in common: an address, options, a clock, deadlines, counters."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from msgspec import Struct, field

from celeriac.errors import InvalidSetting, StoreError, StoreLost, UnknownSetting
from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.model.address import Address
from celeriac.spi.declaration import Option

__all__ = ["ANY", "Context", "Service", "read_options"]

ANY = "*"
"""The name of an option that stands for every name that is not declared."""


class Context(Struct, frozen=True, kw_only=True):
    """What the kernel hands to every service it opens.

    `holder` names who holds leases: the same for all connections of one worker process, also after a reconnect.
    """

    clock: Clock = SYSTEM_CLOCK
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    options: Mapping[str, Any] = field(default_factory=dict)


def read_options(
    declared: Mapping[str, Option], address: Address | None, given: Mapping[str, Any], *, source: str
) -> dict[str, Any]:
    """Return every declared option: from the URL's query, if there is one, else from `given`, else its default.

    Texts are converted to the declared type; a truth value is one of 1/0, true/false, yes/no, on/off. Who declares an
    option `*` takes any other name too, as it is given: the options of a driver that knows them itself.

    Raises: UnknownSetting, InvalidSetting: with the nearest name, or the type that was expected.
    """
    values = {name: option.default for name, option in declared.items() if name != ANY}
    for name, value in {**given, **(address.query if address is not None else {})}.items():
        if name in declared:
            values[name] = _convert(name, value, declared[name].type, source)
        elif ANY in declared:
            values[name] = value
        else:
            raise UnknownSetting(name, declared, source=source)
    return values


_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _convert(name: str, value: Any, wanted: type, source: str) -> Any:
    if isinstance(value, wanted) and not (wanted is not bool and isinstance(value, bool)):
        return value
    try:
        if wanted is bool:
            return _TRUTH[str(value).lower()]
        if wanted in (int, float) and isinstance(value, str | int) and not isinstance(value, bool):
            return wanted(value)
    except (KeyError, ValueError):
        pass
    raise InvalidSetting(name, value, f"of type {wanted.__name__}", source=source)


class Service(ABC):
    """A connection to one store. One object, one connection generation: it is opened once and closed once.

    Every method may be called from any thread. A method that is given `timeout` returns or raises within about
    that many seconds.
    """

    options: ClassVar[Mapping[str, Option]] = {}
    """The options the plugin reads; the same mapping as in its declaration."""

    driver_errors: ClassVar[tuple[type[BaseException], ...]] = ()
    """The driver's exceptions that mean the connection is gone; turned into `lost_error`."""

    lost_error: ClassVar[type[StoreError]] = StoreLost

    def __init__(self, address: Address, context: Context) -> None:
        self.address = address
        self.context = context
        self.clock: Clock = context.clock
        self.calls: Counter[str] = Counter()
        """How often each method was called; what benchmarks count as round trips."""
        self.option: dict[str, Any] = read_options(self.options, address, context.options, source=address.scheme)

    def open(self, *, timeout: float) -> None:
        """Connect, and create what the store needs. Opening twice is an error of the caller."""
        with self._call("open"):
            self._open(timeout)

    def close(self) -> None:
        """Give everything back. Closing twice, or before opening, does nothing."""
        self._close()

    @contextmanager
    def _call(self, method: str) -> Iterator[None]:
        """Count the call and turn the driver's connection errors into `lost_error`."""
        self.calls[method] += 1
        try:
            yield
        except StoreError:
            raise
        except self.driver_errors as error:
            raise self.lost_error(f"{self.address} at {method}: {error}") from error

    @abstractmethod
    def _open(self, timeout: float) -> None:
        """Connect within `timeout` seconds or raise a `StoreError`."""

    @abstractmethod
    def _close(self) -> None:
        """Disconnect; must not raise, may be called at any time, any number of times."""
