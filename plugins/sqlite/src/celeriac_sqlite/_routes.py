"""Which queues a message goes to, and the ids of queues."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import partial

from celeriac.errors import ConfigurationError, Unroutable
from celeriac.model.routing import Queue, binding_matches
from celeriac_sqlite._database import Transaction
from celeriac_sqlite._statements import select

__all__ = ["Routes"]

Resolved = dict[tuple[str, str], tuple[int, ...]]


class Routes:
    """Queues and bindings, remembered once committed. Neither is ever deleted or changed: what was seen stays true."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._bindings = 0
        self._resolved: Resolved = {}

    def known(self, names: Collection[str]) -> dict[str, int] | None:
        """Return the ids of these queues if all are remembered."""
        try:
            return {name: self._ids[name] for name in names}
        except KeyError:
            return None

    def existing(self, connection: sqlite3.Connection, names: Collection[str]) -> dict[str, int]:
        """Return the ids of those of these queues that exist."""
        return dict(select(connection, "SELECT name, id FROM queue WHERE name IN (??)", list(names)))

    def ids(self, transaction: Transaction, names: Collection[str]) -> dict[str, int]:
        """Return the ids of these queues, creating those that do not exist."""
        known = self.known(names)
        if known is not None:
            return known
        found = self.existing(transaction.connection, names)
        for name in dict.fromkeys(names):
            if name not in found:
                cursor = transaction.execute("INSERT INTO queue (name) VALUES (?)", (name,))
                found[name] = int(cursor.lastrowid or 0)
        transaction.committed.append(partial(self._ids.update, found))
        return found

    def resolve(self, transaction: Transaction, addresses: Collection[tuple[str, str]]) -> Resolved:
        """Return the ids of the queues for each pair of exchange and routing key.

        Raises: Unroutable: one of them reaches none.
        """
        plain = [key for exchange, key in addresses if not exchange]
        found: Resolved = {("", name): (id_,) for name, id_ in self.ids(transaction, plain).items()}
        bound = [address for address in addresses if address[0]]
        if bound:
            self._refresh(transaction)
            new = {address: _match(transaction, *address) for address in bound if address not in self._resolved}
            found.update((address, self._resolved[address]) for address in bound if address not in new)
            found.update(new)
            transaction.committed.append(partial(self._resolved.update, new))
        return found

    def declare(self, transaction: Transaction, queues: Sequence[Queue]) -> None:
        """Write down queues, exchanges and bindings that are not there yet.

        Raises: ConfigurationError: an exchange exists with another type.
        """
        ids = self.ids(transaction, [queue.name for queue in queues])
        for queue in queues:
            exchange = queue.exchange
            if exchange is None or not exchange.name:
                continue
            row = transaction.execute("SELECT type FROM exchange WHERE name = ?", (exchange.name,)).fetchone()
            if row is None:
                transaction.execute("INSERT INTO exchange (name, type) VALUES (?, ?)", (exchange.name, exchange.type))
            elif row[0] != exchange.type:
                raise ConfigurationError(
                    f"Queue {queue.name!r}: exchange {exchange.name!r} exists with type {row[0]!r}, not"
                    f" {exchange.type!r}. Use that type, or another name."
                )
            transaction.execute(
                "INSERT OR IGNORE INTO binding (exchange, key, queue) VALUES (?, ?, ?)",
                (exchange.name, queue.key, ids[queue.name]),
            )

    def _refresh(self, transaction: Transaction) -> None:
        """Drop what was found before another binding was added; their number says so, as none is ever removed."""
        (count,) = transaction.execute("SELECT count(*) FROM binding").fetchone()
        if count != self._bindings:
            self._resolved.clear()
            self._bindings = count


def _match(transaction: Transaction, exchange: str, key: str) -> tuple[int, ...]:
    rows = transaction.execute(
        "SELECT exchange.type, binding.key, binding.queue FROM exchange"
        " JOIN binding ON binding.exchange = exchange.name WHERE exchange.name = ?",
        (exchange,),
    ).fetchall()
    found = {queue for type_, pattern, queue in rows if binding_matches(type_, pattern, key)}
    if not found:
        raise Unroutable(exchange, key)
    return tuple(sorted(found))
