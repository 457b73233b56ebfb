"""Carrying out verdicts in one transaction, all of them or, where some came too late, all but those.

1. Assume that every delivery is still held: move what is not acknowledged, delete from `held` by id and token.
2. If that deleted fewer rows than there are verdicts, undo everything, find the stale ones, and repeat without them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac_sqlite import _joins, _records
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._moments import latest_start
from celeriac_sqlite._publication import Parcel, pack, store
from celeriac_sqlite._routes import Routes
from celeriac_sqlite._statements import affect, select

__all__ = ["Settlement", "StaleVerdicts", "stale"]

_KIND = {Action.DEAD: "dead", Action.PARK: "parked"}
_READY = (
    "INSERT INTO ready (queue, rank, id, deliveries, size)"
    " SELECT queue, rank, id, deliveries - ?, size FROM held WHERE token = ? AND id IN (??)"
)
_DELAYED = (
    "INSERT INTO delayed (due, id, queue, rank, deliveries, size)"
    " SELECT ?, id, queue, rank, deliveries - ?, size FROM held WHERE token = ? AND id IN (??)"
)
_LETTER = (
    "INSERT INTO letter (message, kind, queue, rank, deliveries, size, reason, moment)"
    " SELECT id, ?, queue, rank, deliveries, size, ?, ? FROM held WHERE token = ? AND id IN (??)"
)


_DELETE = (
    "DELETE FROM held WHERE lease = (SELECT id FROM lease WHERE holder = ? AND expires > ? AND expires - seconds <= ?)"
    " AND token = ? AND id IN (??)"
)
_HELD = (
    "SELECT id, token FROM held"
    " WHERE lease = (SELECT id FROM lease WHERE holder = ? AND expires > ? AND expires - seconds <= ?) AND id IN (??)"
)


class StaleVerdicts(Exception):
    """Some of the deliveries are no longer held; ends the transaction that assumed they were."""


class _Move(Struct, frozen=True):
    """What is done alike to several messages of one take that are not acknowledged."""

    token: int
    action: Action
    delay: float
    counted: bool
    reason: str


class Settlement:
    """Verdicts sorted into few statements. Made outside the transaction; `apply` runs inside one.

    Raises: EncodeError: a follow-up cannot be written.
    """

    def __init__(self, verdicts: Sequence[Verdict], holder: str) -> None:
        self._holder = holder
        self._held: defaultdict[int, list[int]] = defaultdict(list)
        self._gone: list[int] = []
        self._gone_large: list[int] = []
        self._moves: defaultdict[_Move, list[int]] = defaultdict(list)
        for verdict in verdicts:
            if verdict.delivery is None:
                continue
            id_, token, size = verdict.delivery.tag
            self._held[token].append(id_)
            if verdict.action is not Action.ACK:
                move = _Move(token, verdict.action, verdict.delay, verdict.counted, verdict.reason)
                self._moves[move].append(id_)
                continue
            self._gone.append(id_)
            if size:
                self._gone_large.append(id_)
        self._records = [record for verdict in verdicts for record in verdict.records]
        self._parcels: list[Parcel] = pack(message for verdict in verdicts for message in verdict.followups)
        self._joins = [join for verdict in verdicts for join in verdict.joins]
        self._grows = [growth for verdict in verdicts for growth in verdict.grows]
        self._parts = [part for verdict in verdicts for part in verdict.parts]
        self._closes = [id_ for verdict in verdicts for id_ in verdict.closes]

    def apply(self, transaction: Transaction, routes: Routes, *, now: float, monotonic: float) -> None:
        """Carry everything out.

        Raises: StaleVerdicts: not every delivery is held; the caller must let this undo the transaction.
        """
        connection = transaction.connection
        held = [id_ for ids in self._held.values() for id_ in ids]
        if len(set(held)) < len(held):
            raise StaleVerdicts
        for move, ids in self._moves.items():
            _carry_out(transaction, move, ids, now)
        for token, ids in self._held.items():
            if affect(connection, _DELETE, ids, self._holder, monotonic, latest_start(monotonic), token) != len(ids):
                raise StaleVerdicts
        affect(connection, "DELETE FROM message WHERE id IN (??)", self._gone)
        affect(connection, "DELETE FROM body WHERE id IN (??)", self._gone_large)
        if self._records:
            _records.write(transaction, self._records, now)
        if self._joins:
            _joins.open_all(transaction, self._joins, now)
        _joins.grow(transaction, self._grows)
        parcels = self._parcels
        if self._parts:
            parcels = [*parcels, *pack(_joins.give(transaction, self._parts, once=True))]
        if self._closes:
            _joins.close(transaction, self._closes)
        if parcels:
            store(transaction, routes, parcels, now)


def _carry_out(transaction: Transaction, move: _Move, ids: list[int], now: float) -> None:
    connection = transaction.connection
    if move.action is not Action.RELEASE:
        affect(connection, _LETTER, ids, _KIND[move.action], move.reason, now, move.token)
        return
    uncounted = 0 if move.counted else 1
    if move.delay > 0:
        affect(connection, _DELAYED, ids, now + move.delay, uncounted, move.token)
    else:
        affect(connection, _READY, ids, uncounted, move.token)
    queues = select(connection, "SELECT DISTINCT queue FROM held WHERE token = ? AND id IN (??)", ids, move.token)
    transaction.bells.update(queue for (queue,) in queues)


def stale(
    transaction: Transaction, verdicts: Iterable[Verdict], holder: str, monotonic: float
) -> tuple[list[Verdict], list[Verdict]]:
    """Divide verdicts into those whose delivery `holder` still holds and those that must be refused."""
    verdicts = list(verdicts)
    ids = [_id(verdict.delivery) for verdict in verdicts if verdict.delivery is not None]
    held = dict(select(transaction.connection, _HELD, ids, holder, monotonic, latest_start(monotonic)))
    fine: list[Verdict] = []
    refused: list[Verdict] = []
    for verdict in verdicts:
        if verdict.delivery is None:
            fine.append(verdict)
            continue
        id_, token, _ = verdict.delivery.tag
        # Popped, so that a second verdict on one delivery is refused like any other that comes too late.
        if held.get(id_) == token:
            del held[id_]
            fine.append(verdict)
        else:
            refused.append(verdict)
    return fine, refused


def _id(delivery: Delivery) -> int:
    id_: int = delivery.tag[0]
    return id_
