"""Apps with a worker on each pair of stores that workflows run on: one store for both, or two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeriac.testing.app import fresh_url

PLACES = ("memory", "sqlite", "apart", "redis")
"""`apart` is a broker in memory and results in a file: what ends there is not settled in one transaction."""


@contextmanager
def place(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Give the settings that name broker and result store; skip where the place cannot be had."""
    with ExitStack() as stack:
        memory, file = stack.enter_context(fresh_url()), f"sqlite:///{folder}/q.db"
        if name == "redis":
            servers = pytest.importorskip("redis_servers")
            if not servers.installed():
                pytest.skip("there is no Redis server to start")
            url = stack.enter_context(servers.redis_server()).url
            yield {"broker_url": url, "result_backend": url}
        elif name == "apart":
            yield {"broker_url": memory, "result_backend": file}
        else:
            url = memory if name == "memory" else file
            yield {"broker_url": url, "result_backend": url}
