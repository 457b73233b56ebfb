"""The stores of this process, each shared by every connection that names it."""

from __future__ import annotations

import threading
from typing import Final

from celeriac.model.address import Address
from celeriac_memory.agreements import Agreements
from celeriac_memory.broker import Broker
from celeriac_memory.joins import Joins
from celeriac_memory.records import Records

__all__ = ["MemoryStore", "forget", "store_at"]


class MemoryStore:
    """Everything behind one name, under one lock.

    The parts know nothing of threads: whoever uses one holds `lock`. One lock for all of them is what makes a
    settlement, with its results and follow-ups, a single step to everybody else.
    """

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.arrivals: threading.Condition = threading.Condition(self.lock)
        """Notified when a receiver should look again."""
        self.answers: threading.Condition = threading.Condition(self.lock)
        """Notified when who waits for results should look again."""
        self.broker: Broker = Broker()
        self.records: Records = Records()
        self.joins: Joins = Joins()
        self.agreements: Agreements = Agreements()


_STORES: Final[dict[str, MemoryStore]] = {}
_STORES_LOCK: Final = threading.Lock()


def _name_of(address: Address) -> str:
    return (address.host or "") + address.path.rstrip("/")


def store_at(address: Address) -> MemoryStore:
    """Return the store of this address; it lives until `forget`, or as long as the process."""
    with _STORES_LOCK:
        return _STORES.setdefault(_name_of(address), MemoryStore())


def forget(address: Address) -> None:
    """Drop the store of this address; who connects next finds an empty one."""
    with _STORES_LOCK:
        _STORES.pop(_name_of(address), None)
