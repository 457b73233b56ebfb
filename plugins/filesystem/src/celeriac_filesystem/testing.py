"""The harness by which the contract suite tests this distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from celeriac.testing.harness import StoreHarness
from celeriac_filesystem.results import FilesystemResults

__all__ = ["results"]


@contextmanager
def results() -> Iterator[StoreHarness[FilesystemResults]]:
    """Give an empty folder."""
    with TemporaryDirectory() as folder:
        yield StoreHarness(FilesystemResults, f"file://{folder}")
