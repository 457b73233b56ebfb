"""The contract of result stores on persistent results over RabbitMQ; transient ones are tested as installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("celeriac_amqp.results")

from celeriac.testing.contracts.result_stores.bench import ResultsBench
from celeriac.testing.contracts.result_stores.replying import Replying
from celeriac.testing.contracts.result_stores.storing import Replacing, Storing
from celeriac.testing.contracts.result_stores.waiting import Waiting
from celeriac.testing.harness import StoreHarness
from celeriac_amqp.results import RpcResults
from celeriac_amqp.testing import vhost


class Persistent:
    """A harness module."""

    @contextmanager
    def results(self) -> Iterator[StoreHarness[Any]]:
        with vhost() as url:
            yield StoreHarness(RpcResults, url, virtual=False, options={"result_persistent": True})


class TestPersistentResults(Storing, Replacing, Waiting, Replying):
    @pytest.fixture
    def bench(self) -> Iterator[ResultsBench]:
        with ResultsBench(Persistent()) as bench:
            yield bench
