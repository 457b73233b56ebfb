"""The result store: one key per task, in Celery's layout, announced to who waits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar, Final

from celeriac.model.address import Address
from celeriac.model.join import Growth, Join, Part
from celeriac.model.message import Message
from celeriac.model.record import ResultRecord
from celeriac.spi.results import Chords, ResultStore, Waits
from celeriac.spi.service import Context
from celeriac_redis import joins as kept
from celeriac_redis.link import Link
from celeriac_redis.location import Location, locate
from celeriac_redis.plugin import RESULT_CAPABILITIES, RESULT_OPTIONS
from celeriac_redis.records import KEY_PREFIX, PUT, Row, key_of, record_of, row_of
from celeriac_redis.subscription import Subscription

__all__ = ["RedisResultStore"]

_MOST_RECORDS: Final = 500
_MOST_BYTES: Final = 8 << 20
"""What one script writes, and one command reads, at the most: nobody else is served meanwhile."""


class RedisResultStore(ResultStore, Waits, Chords):
    """A connection to the results in one server, or cluster."""

    capabilities = RESULT_CAPABILITIES
    options = RESULT_OPTIONS
    driver_errors: ClassVar[tuple[type[BaseException], ...]] = Link.driver_errors

    def __init__(self, address: Address, context: Context) -> None:
        super().__init__(address, context)
        self.location: Location = locate(address, self.option)
        self.prefix: str = self.option["global_keyprefix"] + KEY_PREFIX
        """What the keys of results begin with; the task's id follows."""
        self._link = Link(self.location)
        self._joins = kept.Joins(self._link, self.option["global_keyprefix"])
        self._subscription = Subscription(self._link, self.prefix)

    def row(self, record: ResultRecord) -> Row:
        """Return a record as `celeriac_store` of `celeriac_redis.records` takes it: for what a transport commits.

        Raises: EncodeError: it is larger than `result_max_bytes`.
        """
        return row_of(record, self.prefix, self.option["result_max_bytes"])

    def _open(self, timeout: float) -> None:
        self._link.open(timeout)

    def _close(self) -> None:
        self._subscription.close()
        self._link.close()

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        rows = [self.row(record) for record in records]
        end = self.clock.monotonic() + timeout
        for batch in _batches(rows):
            left = end - self.clock.monotonic()
            if self._link.is_cluster:
                self._link.scripts(PUT, [([row.key], row) for row in batch], timeout=left)
            else:
                arguments = [argument for row in batch for argument in row]
                self._link.script(PUT, [row.key for row in batch], arguments, timeout=left)

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        end = self.clock.monotonic() + timeout
        found: dict[str, ResultRecord] = {}
        for chunk in _chunks(ids):
            keys = [key_of(id_, self.prefix) for id_ in chunk]
            left = end - self.clock.monotonic()
            if self._link.is_cluster:
                values = self._link.pipeline([(b"GET", key) for key in keys], timeout=left)
            else:
                values = self._link.run(b"MGET", *keys, timeout=left)
            for id_, raw in zip(chunk, values, strict=True):
                record = None if raw is None else record_of(id_, raw)
                if record is not None:
                    found[id_] = record
        return found

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        end = self.clock.monotonic() + timeout
        gone = 0
        for chunk in _chunks(ids):
            commands = [(b"UNLINK", key_of(id_, self.prefix)) for id_ in chunk]
            gone += sum(self._link.pipeline(commands, timeout=end - self.clock.monotonic()))
        return gone

    # -- waiting -----------------------------------------------------------------------------------------

    def watch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("watch"):
            self._subscription.watch(ids, timeout)

    def unwatch(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("unwatch"):
            self._subscription.unwatch(ids, timeout)

    def changed(self, *, timeout: float) -> dict[str, ResultRecord]:
        with self._call("changed"):
            return self._subscription.changed(timeout)

    # -- joins -------------------------------------------------------------------------------------------

    def open_joins(self, joins: Sequence[Join], *, timeout: float) -> None:
        with self._call("open_joins"):
            self._joins.open(joins, self.clock.time(), timeout)

    def grow(self, growths: Sequence[Growth], *, timeout: float) -> None:
        with self._call("grow"):
            self._joins.grow(growths, timeout)

    def give(self, parts: Sequence[Part], *, timeout: float) -> list[Message]:
        with self._call("give"):
            return self._joins.give(parts, self.clock.time(), timeout)

    def parts(self, join: str, *, timeout: float) -> list[Part]:
        with self._call("parts"):
            return self._joins.parts(join, timeout)

    def message(self, join: str, *, timeout: float) -> Message | None:
        with self._call("message"):
            return self._joins.message(join, timeout)

    def close_joins(self, ids: Collection[str], *, timeout: float) -> None:
        with self._call("close_joins"):
            self._joins.close(ids, timeout)


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and (size + len(row.payload) > _MOST_BYTES or len(batch) == _MOST_RECORDS):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.payload)
    if batch:
        yield batch


def _chunks(ids: Collection[str]) -> Iterator[list[str]]:
    every = list(dict.fromkeys(ids))
    for start in range(0, len(every), _MOST_RECORDS):
        yield every[start : start + _MOST_RECORDS]
