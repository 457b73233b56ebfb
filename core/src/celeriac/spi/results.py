"""Result stores: one record per task id.

The contract, which `celeriac.testing.contracts.results` checks:

1. `put` replaces the record of an id, with one exception: a record that is SUCCESS is never replaced, and one that
   is ready is never replaced by one that is not (a late STARTED, or a duplicate run, undoes nothing).
2. A record is readable by every client as soon as `put` returned, until it expires.
3. An id that the store does not know is absent from the answer of `get`; it is no error.
4. A saved group is a record like that of a task; `celeriac.model.record.GROUP_PREFIX` begins its id.
5. A store with `joins` counts each member of a join once, however often its part comes, and calls the join complete
   once it is, whichever of several processes brought the last part. With `chords` a part that brings a message is for
   a chord that a client of Celery's opened: nobody opens it here.
6. A store that `replies` sends a record to the name in its `reply_to`, where at most one process listens. What is said
   above of reading holds in that process, from the moment the record has arrived there, for all its connections; no
   other process reads anything. A record that names nobody, or somebody who no longer listens, is dropped: no error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import ClassVar, Literal, final

from msgspec import Struct

from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac.model.record import ResultRecord
from celeriac.spi.service import Service

__all__ = ["Chords", "Expires", "Joins", "Replies", "ResultCapabilities", "ResultStore", "Waits"]


class ResultCapabilities(Struct, frozen=True, kw_only=True):
    """What a result store can do by itself."""

    waits: bool = False
    """Pushes changes to who waits (class `Waits`); else the client polls, with back-off."""
    expires: Literal["store", "sweep", "never"] = "never"
    """Drops old records by itself (store), or when swept (class `Expires`)."""
    joins: bool = False
    """Counts the members of joins (class `Joins`); workflows that wait for a group need it."""
    chords: bool = False
    """Counts where Celery's workers count, so that the members of a join may run on either side (class `Chords`)."""
    replies: bool = False
    """Sends each record to the process that asked for it, and keeps none (class `Replies`)."""
    durable: bool = True
    reach: Literal["caller", "process", "machine", "network"] = "network"
    """Who can read a record; "caller" is the process that published the task."""


class ResultStore(Service):
    """A connection to a result store."""

    capabilities: ClassVar[ResultCapabilities] = ResultCapabilities()

    @final
    def put(self, records: Sequence[ResultRecord], *, timeout: float) -> None:
        """Store records, the later of two for one id winning; see the contract for what is never replaced."""
        if records:
            with self._call("put"):
                self._put(records, timeout)

    @final
    def get(self, ids: Collection[str], *, timeout: float) -> dict[str, ResultRecord]:
        """Return the records of those ids that have one."""
        if not ids:
            return {}
        with self._call("get"):
            return self._get(ids, timeout)

    @final
    def delete(self, ids: Collection[str], *, timeout: float) -> int:
        """Drop the records of those ids; return how many there were."""
        if not ids:
            return 0
        with self._call("delete"):
            return self._delete(ids, timeout)

    @abstractmethod
    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None: ...

    @abstractmethod
    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]: ...

    @abstractmethod
    def _delete(self, ids: Collection[str], timeout: float) -> int: ...


class Waits(ABC):
    """Pushes changes over one subscription per process, however many results are awaited.

    `watch` and `unwatch` come from any thread while one thread blocks in `changed`. A record that was ready before
    `watch` is not announced: who watches reads once with `get` afterwards.
    """

    @abstractmethod
    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        """Announce these ids from now on."""

    @abstractmethod
    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        """Stop announcing these ids; an id that was not watched is no error."""

    @abstractmethod
    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        """Block until a watched id is ready, or `timeout` seconds; return the ready ones, which stay watched.

        May return early and empty, as a hint that the store wants to be asked.
        """


class Replies(ABC):
    """Sends records straight to the process that asked for them.

    Such a store may have no address of its own: where its URL names no host, it is opened at the broker's address.
    """

    @abstractmethod
    def listen(self, name: str, *, timeout: float) -> None:
        """Receive the records whose `reply_to` is `name` from now on; asked for before each task is published.

        Must cost next to nothing where this connection listens already. What is sent while no connection of the
        process is up waits, for a while, until one listens again. All connections of a process that listen to a name
        read the same records.

        Raises: StoreLost: the connection broke; another one is to be opened.
        """


class Expires(ABC):
    """Drops expired records when told to."""

    @abstractmethod
    def sweep(self, *, limit: int, timeout: float) -> int:
        """Drop up to `limit` expired records and return how many there were; called every minute by each worker."""


class Joins(ABC):
    """Counts the members of joins. A transport that `commits` with the store does the same with its verdicts."""

    @abstractmethod
    def open_joins(self, joins: Sequence[Join], *, timeout: float) -> None:
        """Open joins; one that exists already, or did until it was closed, is left as it is."""

    @abstractmethod
    def grow(self, growths: Sequence[Growth], *, timeout: float) -> None:
        """Have joins wait for more members, each once; a join that is closed, or was never opened, does not grow."""

    @abstractmethod
    def give(self, parts: Sequence[Part], *, timeout: float) -> list[Message]:
        """Give parts to their joins; those of a join that is closed, or was never opened, are ignored.

        Returns: the messages of the joins that became complete by these parts, and of those, complete and not closed,
        to which one of the parts came before. The caller publishes them: one that dies before comes again with the
        repetition of its part, so that a join is never forgotten. A part that is late tells nothing.
        """

    @abstractmethod
    def parts(self, join: str, *, timeout: float) -> list[Part]:
        """Return what the members of a join gave, by their places; nothing for one that is closed or unknown.

        With `chords`, `member` may be empty and `succeeded` wrong: the payload says it.
        """

    @abstractmethod
    def close_joins(self, ids: Collection[str], *, timeout: float) -> None:
        """Drop the parts of joins; what their other members still give is ignored."""


class Chords(Joins):
    """Counts the members of joins where Celery's workers count those of chords.

    So the last member may be one that ran there, and parts may come for chords that no `open_joins` opened: they bring
    the message that `give` returns.
    """

    @abstractmethod
    def message(self, join: str, *, timeout: float) -> Message | None:
        """Return what was to be published for a join that is open; None for one that is closed or unknown."""
