"""The contract of transports on kombu's, beside the one over files that the harness of the bundle opens."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

pytest.importorskip("celeriac_kombu.transport")
pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import kombu_places

from celeriac.testing.contracts.transport import TransportContract
from celeriac.testing.contracts.transports.bench import TransportBench
from celeriac_kombu import testing

# What kombu does with SQLAlchemy is not this project's.
pytestmark = pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated")


class TestKombuInMemory(TransportContract):
    harness = SimpleNamespace(transport=testing.memory)


@pytest.fixture(scope="module")
def database(_servers: dict[str, str]) -> Iterator[str]:
    with kombu_places.database(_servers["postgresql"]) as url:
        yield url


@pytest.mark.server("postgresql")
class TestKombuInADatabase(TransportContract):
    @pytest.fixture
    def bench(self, server_url: str, request: pytest.FixtureRequest) -> Iterator[TransportBench]:
        # Not as an argument: without a server the one above is not to be made.
        url = request.getfixturevalue("database")
        with TransportBench(SimpleNamespace(transport=lambda: kombu_places.sqlalchemy(url))) as bench:
            yield bench
