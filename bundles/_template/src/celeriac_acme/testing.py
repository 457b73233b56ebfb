"""The harness by which the contract suite tests this distribution."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from celeriac.testing.harness import StoreHarness
from celeriac_acme._client import forget
from celeriac_acme.results import AcmeResults

__all__ = ["results"]


@contextmanager
def results() -> Iterator[StoreHarness[AcmeResults]]:
    """Give an empty store to result stores."""
    url = f"acme://{uuid.uuid4().hex}"
    yield StoreHarness(AcmeResults, url)
    forget(url)
