"""Putting messages on their queues: sealed outside the transaction, written in a few statements inside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from celeriac.model.message import Message
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._envelope import Envelope, seal
from celeriac_sqlite._routes import Routes
from celeriac_sqlite._statements import insert

__all__ = ["Parcel", "pack", "store"]


class Parcel(Struct, frozen=True, gc=False):
    """A message ready to be stored, with its address and order. A higher priority is a lower rank."""

    exchange: str
    key: str
    rank: int
    due: float | None
    envelope: Envelope


def pack(messages: Iterable[Message]) -> list[Parcel]:
    """Make messages ready to be stored.

    Raises: EncodeError: one of them cannot be written.
    """
    return [
        Parcel(message.exchange, message.routing_key, -message.priority, message.due, seal(message))
        for message in messages
    ]


def store(transaction: Transaction, routes: Routes, parcels: list[Parcel], now: float) -> None:
    """Store parcels in their order and ring whom it concerns.

    Raises: Unroutable: no queue takes one of them.
    """
    queues = routes.resolve(transaction, {(parcel.exchange, parcel.key) for parcel in parcels})
    copies = [(parcel, queue) for parcel in parcels for queue in queues[parcel.exchange, parcel.key]]
    (last,) = transaction.execute("SELECT max(id) FROM message").fetchone()
    first = (last or 0) + 1
    texts: list[Any] = []
    for id_, (parcel, _) in enumerate(copies, first):
        texts += (id_, now, parcel.envelope.text)
    insert(transaction.connection, "INSERT OR IGNORE INTO message (id, moment, text) VALUES ??", 3, texts)
    bodies: list[Any] = []
    for id_, (parcel, _) in enumerate(copies, first):
        if parcel.envelope.body is not None:
            bodies += (id_, parcel.envelope.body)
    if bodies:
        insert(transaction.connection, "INSERT OR IGNORE INTO body (id, data) VALUES ??", 2, bodies)
    _queue(transaction, copies, first, now)
    transaction.bells.update(queue for _, queue in copies)


def _queue(transaction: Transaction, copies: list[tuple[Parcel, int]], first: int, now: float) -> None:
    if len({(queue, parcel.rank, parcel.envelope.size, parcel.due) for parcel, queue in copies}) == 1:
        parcel, queue = copies[0]
        if parcel.due is None or parcel.due <= now:
            transaction.execute(
                "INSERT INTO ready (queue, rank, id, deliveries, size)"
                " SELECT ?, ?, id, 0, ? FROM message WHERE id >= ?",
                (queue, parcel.rank, parcel.envelope.size, first),
            )
            return
    ready: list[Any] = []
    delayed: list[Any] = []
    for id_, (parcel, queue) in enumerate(copies, first):
        if parcel.due is None or parcel.due <= now:
            ready += (queue, parcel.rank, id_, 0, parcel.envelope.size)
        else:
            delayed += (parcel.due, id_, queue, parcel.rank, 0, parcel.envelope.size)
    insert(
        transaction.connection, "INSERT OR IGNORE INTO ready (queue, rank, id, deliveries, size) VALUES ??", 5, ready
    )
    insert(
        transaction.connection,
        "INSERT OR IGNORE INTO delayed (due, id, queue, rank, deliveries, size) VALUES ??",
        6,
        delayed,
    )
