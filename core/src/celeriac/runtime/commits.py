"""What the settler commits, and over which connections: in one transaction where broker and store are one system.

Elsewhere results and parts of joins come first, then what follows, then verdicts: a kill at any instant loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from celeriac.errors import StoreError, Unroutable
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Outcome, Verdict
from celeriac.model.request import Request
from celeriac.runtime.inflight import Held
from celeriac.spi.results import Joins, ResultStore
from celeriac.spi.transport import Commits, Transport

__all__ = ["Item", "Stores", "Taker", "is_outage", "verdict_on"]


class Item(Struct, gc=False):
    """One verdict to settle, and what it is about."""

    verdict: Verdict
    held: Held | None = None
    outcome: Outcome | None = None
    then: Callable[[Sequence[Request]], None] | None = None
    settled: bool = False


class Taker(Protocol):
    """Who takes messages: what a settlement needs to know to take for it."""

    queues: tuple[str, ...]

    def free(self, settled: int) -> int:
        """Return how many could run at once when so many runs have been settled."""

    def accept(self, deliveries: Sequence[Delivery]) -> None:
        """Take in what was taken; never raises."""


class Stores:
    """The connections of one generation; `timeout` is the seconds for each call.

    Where broker and results are one system, what follows a task may be taken as the task is settled: that spares the
    next step of a chain the way into the broker and out again. Only as much as free slots can run now, so that nothing
    waits here which another worker could run.
    """

    def __init__(self, transport: Transport, results: ResultStore | None, timeout: float) -> None:
        self.transport = transport
        self.results = results
        self.timeout = timeout
        self.one_transaction: bool = (
            results is not None and isinstance(transport, Commits) and transport.commits_with(results)
        )
        self.taker: Taker | None = None
        """Who takes from this broker, once there is somebody."""
        self._taken: list[Delivery] = []

    def commit(self, batch: list[Item]) -> list[Item]:
        """Write a batch; return what was refused.

        Raises: StoreError: it is not known what took effect. Whatever else makes one of the batch unwritable.
        """
        if not self.one_transaction:
            self._store_first(batch)
        refused = {id(verdict) for verdict in self._settle(batch)}
        return [item for item in batch if id(item.verdict) in refused] if refused else []

    def _settle(self, batch: list[Item]) -> list[Verdict]:
        verdicts = [item.verdict for item in batch]
        taker, transport = self.taker, self.transport
        if taker is not None and self.one_transaction and isinstance(transport, Commits):
            free = _room(taker, batch)
            if free > 0:
                refused, taken = transport.settle_and_take(verdicts, taker.queues, limit=free, timeout=self.timeout)
                self._taken += taken
                return refused
        return transport.settle(verdicts, timeout=self.timeout)

    def pass_on(self) -> None:
        """Give what settlements have taken to who takes."""
        if self._taken and self.taker is not None:
            taken, self._taken = self._taken, []
            self.taker.accept(taken)

    def _store_first(self, batch: list[Item]) -> None:
        """Store results and parts, then publish what follows; each is taken off its verdict: no try repeats it."""
        verdicts = [item.verdict for item in batch]
        records = [record for verdict in verdicts for record in verdict.records]
        if records and self.results is not None:
            self.results.put(records, timeout=self.timeout)
        messages = [message for verdict in verdicts for message in verdict.followups]
        messages += self._give(verdicts)
        self.transport.publish(messages, timeout=self.timeout)
        closes = [join for verdict in verdicts for join in verdict.closes]
        if closes and self.results is not None and isinstance(self.results, Joins):
            self.results.close_joins(closes, timeout=self.timeout)
        for item in batch:
            verdict = item.verdict
            if verdict.records or _follows(verdict):
                item.verdict = replace(verdict, records=(), followups=(), joins=(), grows=(), parts=(), closes=())

    def _give(self, verdicts: Sequence[Verdict]) -> list[Message]:
        """Open joins, give parts to theirs, and return the messages of those that are complete."""
        if self.results is None or not isinstance(self.results, Joins):
            return []  # such a store is refused where a join would be opened
        joins = [join for verdict in verdicts for join in verdict.joins]
        parts = [part for verdict in verdicts for part in verdict.parts]
        grows = [growth for verdict in verdicts for growth in verdict.grows]
        if joins:
            self.results.open_joins(joins, timeout=self.timeout)
        if grows:
            self.results.grow(grows, timeout=self.timeout)
        return self.results.give(parts, timeout=self.timeout) if parts else []


def _room(taker: Taker, batch: list[Item]) -> int:
    """Return how many follow-ups to take: none where there are none, or where something goes back that comes first."""
    follows, settled = False, 0
    if taker.free(len(batch)) <= 0:  # most batches are many of many: not worth looking through
        return 0
    for item in batch:
        if item.verdict.action is not Action.ACK:
            return 0
        if item.verdict.followups:
            follows = True
        if item.held is not None and item.then is None:
            settled += 1
    return taker.free(settled) if follows else 0


def is_outage(error: Exception) -> bool:
    """Whether an error says that the store is unreachable, and not that it does not take this one thing."""
    return isinstance(error, StoreError) and not isinstance(error, Unroutable)


def verdict_on(held: Held, outcome: Outcome) -> Verdict:
    """Make the verdict of an outcome."""
    if outcome.action is Action.ACK and not _follows(outcome):
        return Verdict(delivery=held.delivery, records=outcome.records, reason=outcome.reason)
    if held.delivery is None and outcome.action is Action.RELEASE:
        # Its message was acknowledged first: to go back to the queue it is published anew.
        outcome = replace(outcome, followups=(*outcome.followups, held.request.message))
    return Verdict(
        delivery=held.delivery,
        action=outcome.action,
        reason=outcome.reason,
        delay=outcome.delay,
        records=outcome.records,
        followups=outcome.followups,
        joins=outcome.joins,
        grows=outcome.grows,
        parts=outcome.parts,
        closes=outcome.closes,
    )


def _follows(settled: Outcome | Verdict) -> bool:
    """Whether more than a record is committed with it."""
    return bool(settled.followups or settled.joins or settled.grows or settled.parts or settled.closes)
