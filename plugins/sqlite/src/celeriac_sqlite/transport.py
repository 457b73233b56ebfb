"""The transport: messages in tables, taken under leases, settled together with their results in one transaction."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from functools import partial

from celeriac.errors import InvalidSetting, StoreError, TransportLost
from celeriac.model.address import Address
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.routing import Queue
from celeriac.spi.results import ResultStore
from celeriac.spi.service import Context
from celeriac.spi.transport import (
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
from celeriac_sqlite import _inspection, _letters
from celeriac_sqlite._database import Database, Transaction
from celeriac_sqlite._doorbell import Doorbell, Doorbells
from celeriac_sqlite._leases import Leases as HolderLeases
from celeriac_sqlite._leases import reclaim
from celeriac_sqlite._publication import pack, store
from celeriac_sqlite._routes import Routes
from celeriac_sqlite._settlement import Settlement, StaleVerdicts, stale
from celeriac_sqlite._taking import Taken, look, take
from celeriac_sqlite.plugin import TRANSPORT_CAPABILITIES, TRANSPORT_OPTIONS
from celeriac_sqlite.results import SqliteResultStore

__all__ = ["SqliteTransport"]

logger: logging.Logger = logging.getLogger(__name__)

_LOCK_SECONDS = 5.0
"""How long a receive waits for the lock on the database, however short its own time-out: a poll may be 0."""


class SqliteTransport(Transport, Declares, Leases, Commits, Inspects, KeepsLetters):
    """A connection to a broker in a database file.

    Receiving:
    1. Look, without the write lock, whether there is anything to take or to make ready.
    2. If so, take it in one write transaction.
    3. If not, listen for the doorbell of these queues, look once more, and wait: for the doorbell, for the next
       message that is due, for the next lease that lapses, or `poll_seconds`.
    """

    capabilities = TRANSPORT_CAPABILITIES
    options = TRANSPORT_OPTIONS

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        if self.option["lease_seconds"] <= 0:
            raise InvalidSetting("lease_seconds", self.option["lease_seconds"], "above 0", source="sqlite")
        self._database = Database(address, self.option, self.clock, lost=TransportLost)
        self._doorbells = Doorbells(partial(Doorbell, self._database, self.clock, self.option["poll_seconds"]))
        self._routes = Routes()
        self._leases = HolderLeases(context.holder, self.option["lease_seconds"])
        self._woken = threading.Event()
        self._busy = False

    def _open(self, timeout: float) -> None:
        self._database.open(timeout)

    def _close(self) -> None:
        """Disconnect. What is held stays so until its lease lapses; a lease that holds nothing ends here."""
        if self._leases.known and self._database.usable:
            try:
                with self._database.write("close", 1.0, durable=False) as transaction:
                    self._leases.resign(transaction)
            except StoreError as error:
                logger.debug("the lease is left to lapse", extra={"event": "lease_left", "error": str(error)})
        self._doorbells.close()
        self._database.close()

    # -- publishing, receiving, settling -----------------------------------------------------------------

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        parcels = pack(messages)
        with self._database.write("publish", timeout) as transaction:
            store(transaction, self._routes, parcels, self.clock.time())

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        end = self.clock.monotonic() + timeout
        ids = self._queue_ids(queues)
        with self._doorbells.borrow() as doorbell:
            while not self._woken.is_set():
                found, wait = self._take(ids, limit)
                if found:
                    return found
                left = end - self.clock.monotonic()
                if left <= 0:
                    return []
                if wait > 0 and not doorbell.listen(list(ids.values()), _LOCK_SECONDS):
                    doorbell.wait(min(left, wait))
        self._woken.clear()
        return []

    def _take(self, ids: dict[str, int], limit: int) -> tuple[list[Delivery], float]:
        """Take what is there; else return in how many seconds something may be."""
        taken: list[Taken] = []
        if not self._busy:
            looking = partial(look, queues=list(ids.values()), now=self.clock.time(), monotonic=self.clock.monotonic())
            prospect = self._database.glance("receive", _LOCK_SECONDS, looking)
            if not prospect.ready:
                return [], prospect.wait_seconds
        with self._database.write("receive", _LOCK_SECONDS, durable=False) as transaction:
            now, monotonic = self.clock.time(), self.clock.monotonic()
            taken = take(transaction, self._leases, ids, limit=limit, now=now, monotonic=monotonic)
        self._busy = bool(taken)
        return [delivery for part in taken for delivery in part.deliveries()], 0.0

    def _queue_ids(self, queues: Sequence[str]) -> dict[str, int]:
        known = self._routes.known(queues)
        if known is None:
            with self._database.write("receive", _LOCK_SECONDS) as transaction:
                known = self._routes.ids(transaction, queues)
        return {name: known[name] for name in queues}

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        settlement = Settlement(verdicts, self.context.holder)
        try:
            with self._database.write("settle", timeout) as transaction:
                self._apply(transaction, settlement)
        except StaleVerdicts:
            with self._database.write("settle", timeout) as transaction:
                fine, refused = stale(transaction, verdicts, self.context.holder, self.clock.monotonic())
                self._apply(transaction, Settlement(fine, self.context.holder))
            return refused
        return []

    def _apply(self, transaction: Transaction, settlement: Settlement) -> None:
        settlement.apply(transaction, self._routes, now=self.clock.time(), monotonic=self.clock.monotonic())

    def _wake(self) -> None:
        self._woken.set()
        self._doorbells.ring()

    # -- the optional interfaces ---------------------------------------------------------------------------

    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        with self._database.write("declare", timeout) as transaction:
            self._routes.declare(transaction, queues)

    @property
    def lease_seconds(self) -> float:
        return self._leases.seconds

    def renew(self, *, timeout: float) -> bool:
        with self._database.write("renew", timeout, durable=False) as transaction:
            kept = self._leases.renew(transaction, self.clock.monotonic())
        self._database.tend()
        return kept

    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        ids = {delivery.tag[0] for delivery in deliveries}
        with self._database.write("retain", timeout) as transaction:
            return self._leases.retain(transaction, ids, self.clock.monotonic())

    def commits_with(self, results: ResultStore) -> bool:
        return isinstance(results, SqliteResultStore) and results.path == self._database.path

    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        with self._database.read("depths", timeout) as connection:
            return _inspection.depths(connection, queues, now=self.clock.time(), monotonic=self.clock.monotonic())

    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        with self._database.read("browse", timeout) as connection:
            return _inspection.browse(connection, queue, limit)

    def purge(self, queue: str, *, timeout: float) -> int:
        with self._database.write("purge", timeout) as transaction:
            reclaim(transaction, self.clock.monotonic())
            return _inspection.purge(transaction, queue)

    def letters(
        self, kind: LetterKind | None = None, *, limit: int, after: str | None = None, timeout: float
    ) -> list[Letter]:
        with self._database.read("letters", timeout) as connection:
            return _letters.letters(connection, kind, limit, after)

    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        with self._database.write("replay", timeout) as transaction:
            return _letters.replay(transaction, ids)

    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        with self._database.write("discard", timeout) as transaction:
            return _letters.discard(transaction, ids)
