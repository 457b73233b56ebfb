"""Harnesses by which the contract suite tests this distribution: on files, and in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kombu.transport import memory as kombu_memory

from celeriac.testing.harness import StoreHarness
from celeriac_kombu.transport import KombuTransport

__all__ = ["filesystem", "folder_options", "memory", "transport"]

_numbers = itertools.count(1)


def folder_options(folder: str | Path) -> dict[str, Any]:
    """Return the options of kombu for a broker in `folder`, which looks for messages every few milliseconds."""
    queues = str(Path(folder) / "queues")
    Path(queues).mkdir()
    return {
        "data_folder_in": queues,
        "data_folder_out": queues,
        "control_folder": str(Path(folder) / "control"),
        "polling_interval": 0.02,
    }


@contextmanager
def filesystem() -> Iterator[StoreHarness[KombuTransport]]:
    """Give a folder."""
    with TemporaryDirectory() as folder:
        yield StoreHarness(KombuTransport, "kombu+filesystem://", virtual=False, options=folder_options(folder))


transport = filesystem


@contextmanager
def memory() -> Iterator[StoreHarness[KombuTransport]]:
    """Give this process' one memory broker, emptied, of which each time another part is used."""
    kombu_memory.Channel.queues.clear()
    options = {"polling_interval": 0.02}
    yield StoreHarness(KombuTransport, f"kombu+memory://part{next(_numbers)}/", virtual=False, options=options)
    kombu_memory.Channel.queues.clear()
