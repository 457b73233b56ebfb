"""Coordinators: agreement between processes, by leases, token buckets, semaphores and expiring sets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import ClassVar, Literal, final

from msgspec import Struct

from celeriac.spi.service import Service

__all__ = ["Coordinator", "CoordinatorCapabilities"]


class CoordinatorCapabilities(Struct, frozen=True, kw_only=True):
    """What a coordinator can do by itself."""

    durable: bool = True
    reach: Literal["process", "machine", "network"] = "network"


class Coordinator(Service):
    """A connection to a coordinator. Every method is one atomic operation; the store's clock decides."""

    capabilities: ClassVar[CoordinatorCapabilities] = CoordinatorCapabilities()

    @final
    def lease(self, name: str, owner: str, *, ttl: float, timeout: float) -> int | None:
        """Take, renew or (with `ttl` 0) give up the lease `name`.

        Returns: its fencing token, which grows each time the lease changes hands and stays while one owner renews;
        None while somebody else has it, and after giving it up.
        """
        with self._call("lease"):
            return self._lease(name, owner, ttl, timeout)

    @final
    def take(self, bucket: str, *, rate: float, capacity: float, amount: float = 1.0, timeout: float) -> float:
        """Take `amount` tokens from a bucket that fills with `rate` a second up to `capacity`.

        Returns: 0.0 when they were taken, else the seconds until they will be there; nothing was taken then.
        """
        with self._call("take"):
            return self._take(bucket, rate, capacity, amount, timeout)

    @final
    def enter(self, key: str, owner: str, *, limit: int, ttl: float, timeout: float) -> bool:
        """Enter, stay in or (with `ttl` 0) leave the semaphore `key`, which admits `limit` owners.

        Returns: whether the owner is inside now. Who does not enter again within `ttl` seconds is out.
        """
        with self._call("enter"):
            return self._enter(key, owner, limit, ttl, timeout)

    @final
    def remember(self, name: str, members: Collection[str], *, ttl: float, timeout: float) -> None:
        """Add members to the set `name`, each for `ttl` seconds from now; 0 removes them."""
        with self._call("remember"):
            self._remember(name, members, ttl, timeout)

    @final
    def recall(self, name: str, members: Collection[str], *, timeout: float) -> set[str]:
        """Return those of `members` that the set `name` holds now."""
        if not members:
            return set()
        with self._call("recall"):
            return self._recall(name, members, timeout)

    @abstractmethod
    def _lease(self, name: str, owner: str, ttl: float, timeout: float) -> int | None: ...

    @abstractmethod
    def _take(self, bucket: str, rate: float, capacity: float, amount: float, timeout: float) -> float: ...

    @abstractmethod
    def _enter(self, key: str, owner: str, limit: int, ttl: float, timeout: float) -> bool: ...

    @abstractmethod
    def _remember(self, name: str, members: Collection[str], ttl: float, timeout: float) -> None: ...

    @abstractmethod
    def _recall(self, name: str, members: Collection[str], timeout: float) -> set[str]: ...
