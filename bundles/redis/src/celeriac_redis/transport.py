"""The transport: messages wait where kombu keeps them, are taken under leases, and settled with their results."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import partial
from time import monotonic
from typing import ClassVar, Final

from celeriac.errors import InvalidSetting
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.record import ResultRecord
from celeriac.model.routing import Queue
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.results import ResultStore
from celeriac.spi.service import Context
from celeriac.spi.transport import (
    ChecksRevocations,
    Commits,
    Declares,
    Inspects,
    KeepsLetters,
    Leases,
    Letter,
    LetterKind,
    QueueDepth,
    Transport,
)
from celeriac_redis.bell import Bell, Bells
from celeriac_redis.coordinator import RedisCoordinator
from celeriac_redis.inspection import Inspection
from celeriac_redis.keys import Keys, read_steps
from celeriac_redis.leases import Leases as HolderLeases
from celeriac_redis.letters import Letters
from celeriac_redis.link import Link
from celeriac_redis.location import Location, locate
from celeriac_redis.plugin import CLUSTER_CAPABILITIES, TRANSPORT_CAPABILITIES, TRANSPORT_OPTIONS
from celeriac_redis.publication import Publisher
from celeriac_redis.records import KEY_PREFIX, Row, row_of
from celeriac_redis.results import RedisResultStore
from celeriac_redis.routes import Routes
from celeriac_redis.settlement import Settler, Taking
from celeriac_redis.taking import Taker

__all__ = ["RedisClusterTransport", "RedisTransport"]


_ANSWER_SECONDS: Final = 10.0
"""How long a take may last, however short the time-out of `receive`: a poll may be 0."""
_LOOK_SECONDS: Final = 5.0
"""How long to sleep at the most: a connection that died in silence is noticed when it is used."""


class _Transport(Transport, Declares, Leases, Inspects, KeepsLetters):
    """What both transports do.

    Receiving:
    1. Take, over a connection on which the server watches what was read.
    2. If nothing was there, sleep until the server tells that one of the lists has changed, the next delayed message
       is due, or the next lease lapses; then take again.

    Source: docs/explanation/redis-store.md
    """

    options = TRANSPORT_OPTIONS
    driver_errors: ClassVar[tuple[type[BaseException], ...]] = Link.driver_errors

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        if self.option["lease_seconds"] <= 0:
            raise InvalidSetting("lease_seconds", self.option["lease_seconds"], "above 0", source=address.scheme)
        self.location: Location = locate(address, self.option)
        self._prefix: str = self.option["global_keyprefix"]
        self._link = Link(self.location)
        keys = Keys(
            prefix=self._prefix,
            steps=read_steps(self.option["priority_steps"], lowest_first=self.option["lowest_priority_first"]),
            cluster=self._link.is_cluster,
            database=self.location.database,
        )
        self._leases = HolderLeases(self._link, keys, context.holder, self.option["lease_seconds"])
        self._routes = Routes(self._link, keys)
        self._publisher = Publisher(self._link, keys, self._routes, self.clock)
        self._taker = Taker(keys, self._leases, split=self._link.is_cluster)
        self._settler = Settler(
            self._link,
            keys,
            leases=self._leases,
            routes=self._routes,
            publisher=self._publisher,
            rows=self._row,
            label=self.location.label,
        )
        self._inspection = Inspection(self._link, keys)
        self._letters = Letters(self._link, keys)
        self._bells = Bells(partial(Bell, self._link))
        self._woken = threading.Event()

    def _open(self, timeout: float) -> None:
        self._link.open(timeout)

    def _close(self) -> None:
        """Disconnect. What is held stays so until its lease lapses."""
        self._woken.set()
        self._bells.close()
        self._link.close()

    # -- publishing, receiving, settling -----------------------------------------------------------------

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        self._publisher.publish(messages, timeout)

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        end = monotonic() + timeout
        self._leases.announce(queues, _ANSWER_SECONDS)
        with self._bells.borrow() as bell:
            while not self._woken.is_set():
                taken = self._taker.take(bell, queues, limit, _ANSWER_SECONDS)
                bell.found(bool(taken.deliveries))
                if taken.deliveries:
                    return taken.deliveries
                if taken.again:
                    continue
                left = end - monotonic()
                if left <= 0:
                    return []
                wait = _LOOK_SECONDS if taken.wait_seconds is None else taken.wait_seconds
                bell.wait(min(left, wait, _LOOK_SECONDS, self._leases.seconds))
        self._woken.clear()
        return []

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        refused, _ = self._settler.settle(verdicts, self.clock.time(), timeout)
        return refused

    def _wake(self) -> None:
        self._woken.set()
        self._bells.ring()

    def _row(self, record: ResultRecord) -> Row:
        """Make a record ready to be stored where a result store with the default options looks for it."""
        return row_of(record, self._prefix + KEY_PREFIX, 0)

    # -- the optional interfaces ---------------------------------------------------------------------------

    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        with self._call("declare"):
            self._routes.declare(queues, timeout)

    @property
    def lease_seconds(self) -> float:
        return self._leases.seconds

    def renew(self, *, timeout: float) -> bool:
        with self._call("renew"):
            return self._leases.renew(timeout)

    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        with self._call("retain"):
            return self._leases.retain(deliveries, timeout)

    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        with self._call("depths"):
            return self._inspection.depths(queues, timeout)

    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        with self._call("browse"):
            return self._inspection.browse(queue, limit, timeout)

    def purge(self, queue: str, *, timeout: float) -> int:
        with self._call("purge"):
            return self._inspection.purge(queue, timeout)

    def letters(
        self, kind: LetterKind | None = None, *, limit: int, after: str | None = None, timeout: float
    ) -> list[Letter]:
        with self._call("letters"):
            return self._letters.page(kind, limit, after, timeout)

    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        with self._call("replay"):
            return self._letters.replay(ids, timeout)

    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        with self._call("discard"):
            return self._letters.discard(ids, timeout)


class RedisTransport(_Transport, Commits, ChecksRevocations):
    """A connection to a broker in Redis or Valkey, on one server or on the one that sentinels name."""

    capabilities = TRANSPORT_CAPABILITIES

    def commits_with(self, results: ResultStore) -> bool:
        if not isinstance(results, RedisResultStore) or not results.location.same_store(self.location):
            return False
        self._settler.rows = results.row
        self._settler.join_prefix = results.option["global_keyprefix"]
        return True

    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> tuple[list[Verdict], list[Delivery]]:
        taking = None
        if self._taker.revoked:  # else nobody would know whether they were
            taking = Taking(tuple(queues), limit, self._taker.nonce(), self._taker.revoked)
        with self._call("settle"):
            return self._settler.settle(verdicts, self.clock.time(), timeout, taking)

    def checks_with(self, coordinator: Coordinator, name: str) -> bool:
        if not isinstance(coordinator, RedisCoordinator) or not coordinator.location.same_store(self.location):
            return False
        self._taker.revoked = coordinator.set_key(name)
        return True


class RedisClusterTransport(_Transport):
    """A connection to a broker in a cluster: no transaction covers two queues, nor a queue and a result."""

    capabilities = CLUSTER_CAPABILITIES
