"""Over files and over PostgreSQL, by kombu's transports, clients and workers of both sides understand each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery_side import celery, define, leave_logging, setup_logging, start_worker
from running import running

from celeriac import Celeriac
from celeriac.testing.app import make_app

pytest.importorskip("celeriac_kombu.transport")
pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import kombu
import kombu_places

from celeriac_kombu.testing import folder_options

pytestmark = [
    pytest.mark.timeout(120),
    # Of the other side's own calls of its driver.
    pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SECONDS = 30
TOPIC = kombu.Exchange("maths", type="topic")


class Shared:
    """One app of each side on the same broker; each side defines the same tasks."""

    def __init__(self, url: str, theirs: dict[str, Any], ours: Celeriac) -> None:
        self.ours = ours
        self.theirs = celery.Celery("theirs", broker=url, backend=ours.conf.result_backend, set_as_current=False)
        self.theirs.conf.update(
            broker_transport_options=theirs,
            worker_redirect_stdouts=False,
            worker_prefetch_multiplier=1,
            task_queues=ours.conf.task_queues,
        )
        for app in (self.ours, self.theirs):
            define(app)
            app.finalize()

    @contextmanager
    def our_worker(self) -> Iterator[None]:
        with running(self.ours, pool="threads", concurrency=2):
            yield

    @contextmanager
    def their_worker(self) -> Iterator[None]:
        setup_logging.connect(leave_logging)
        try:
            with start_worker(self.theirs, perform_ping_check=False, pool="solo", shutdown_timeout=20):
                yield
        finally:
            setup_logging.disconnect(leave_logging)


@contextmanager
def sides(folder: Path, url: str, options: dict[str, Any], theirs: dict[str, Any]) -> Iterator[Shared]:
    (folder / "results").mkdir()
    settings = {
        "broker_url": f"kombu+{url}",
        "broker_transport_options": options,
        "result_backend": f"file://{folder / 'results'}",
        "task_queues": [kombu.Queue("celery", kombu.Exchange("celery"), "celery"), kombu.Queue("m", TOPIC, "maths.#")],
    }
    with make_app(settings, {}) as ours:
        found = Shared(url, theirs, ours)
        try:
            yield found
        finally:
            found.theirs.close()


class BothWays:
    """What holds on either."""

    @pytest.fixture(params=["theirs", "ours"])
    def crossed(self, shared: Shared, request: pytest.FixtureRequest) -> Iterator[Any]:
        """Give the client of one side, while a worker of the other side runs."""
        worker = shared.our_worker if request.param == "theirs" else shared.their_worker
        with worker():
            yield getattr(shared, request.param)

    def test_results_come_back(self, crossed: Any) -> None:
        results = [crossed.tasks["proj.add"].delay(number, 3) for number in range(5)]

        assert [result.get(timeout=SECONDS) for result in results] == [3, 4, 5, 6, 7]

    def test_an_exception_comes_back(self, crossed: Any) -> None:
        result = crossed.tasks["proj.fail"].delay("ValueError", "no such thing")

        with pytest.raises(ValueError, match="no such thing"):
            result.get(timeout=SECONDS)

    def test_calling_options_are_understood(self, crossed: Any) -> None:
        options = {"expires": 60, "retries": 2, "shadow": "other", "headers": {"mine": "header"}, "compression": "gzip"}

        found = crossed.tasks["proj.describe"].apply_async(("Grüße 🥬",), **options)
        seen = found.get(timeout=SECONDS)

        assert (seen["id"], seen["retries"], seen["shadow"], seen["mine"]) == (found.id, 2, "other", "header")
        assert seen["expires"]

    def test_a_topic_exchange_of_a_queue_of_kombu_leads_to_it(self, crossed: Any) -> None:
        result = crossed.tasks["proj.add"].apply_async((2, 2), queue="m", routing_key="maths.add")

        assert result.get(timeout=SECONDS) == 4

    def test_workers_of_both_sides_share_a_queue(self, shared: Shared) -> None:
        # Before there are workers: kombu's readers lose the files that its writers are still writing.
        results = [shared.theirs.tasks["proj.add"].delay(number, 1) for number in range(40)]
        with shared.our_worker(), shared.their_worker():
            results += [shared.ours.tasks["proj.add"].delay(number, 1) for number in range(40)]

            assert [result.get(timeout=SECONDS) for result in results] == [*range(1, 41), *range(1, 41)]


class TestOverFiles(BothWays):
    @pytest.fixture
    def shared(self, tmp_path: Path) -> Iterator[Shared]:
        options = folder_options(tmp_path)
        with sides(tmp_path, "filesystem://", options, options) as found:
            yield found


@pytest.mark.server("postgresql")
class TestInPostgresql(BothWays):
    @pytest.fixture
    def shared(self, server_url: str, tmp_path: Path) -> Iterator[Shared]:
        with (
            kombu_places.database(server_url) as database,
            sides(tmp_path, kombu_places.broker_url(database), {"polling_interval": 0.02}, {}) as found,
        ):
            yield found
