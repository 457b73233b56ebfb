"""Both sides, for a whole module: Hypothesis runs each test many times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give both apps, with the same tasks and one folder of results."""
    from celery_side import both_sides  # noqa: PLC0415  it skips where Celery is not installed

    with both_sides(tmp_path_factory.mktemp("results")) as found:
        yield found
