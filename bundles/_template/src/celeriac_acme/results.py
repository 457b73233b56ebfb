"""A result store in Acme."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from celeriac.model.record import ResultRecord
from celeriac.spi.results import ResultStore
from celeriac_acme._client import AcmeClient, AcmeError
from celeriac_acme.plugin import CAPABILITIES, OPTIONS

__all__ = ["AcmeResults"]


class AcmeResults(ResultStore):
    """One key per task."""

    capabilities = CAPABILITIES
    options = OPTIONS
    driver_errors = (AcmeError,)

    _client: AcmeClient | None = None

    def _open(self, timeout: float) -> None:
        self._client = AcmeClient(self.address.url, self.clock)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _put(self, records: Sequence[ResultRecord], timeout: float) -> None:
        for record in records:
            self._connection().write(self._key(record.id), record)

    def _get(self, ids: Collection[str], timeout: float) -> dict[str, ResultRecord]:
        found = {id_: self._connection().read(self._key(id_)) for id_ in ids}
        return {id_: record for id_, record in found.items() if record is not None}

    def _delete(self, ids: Collection[str], timeout: float) -> int:
        return sum(self._connection().drop(self._key(id_)) for id_ in set(ids))

    def _key(self, id_: str) -> str:
        return f"{self.option['prefix']}{id_}"

    def _connection(self) -> AcmeClient:
        if self._client is None:
            raise AcmeError("the connection was never opened")
        return self._client
