"""What a broken connection held and could not give back: kept in this process until the broker is there again.

Only of brokers that delete what is taken. There the process that took a message is the only place where it is.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from celeriac_kombu.messages import Outgoing

__all__ = ["claim", "keep"]

_lock = threading.Lock()
_kept: dict[str, list[Outgoing]] = {}


def keep(url: str, messages: Sequence[Outgoing]) -> None:
    """Keep messages for the broker at `url`."""
    with _lock:
        _kept.setdefault(url, []).extend(messages)


def claim(url: str) -> list[Outgoing]:
    """Return what was kept for a broker, once."""
    with _lock:
        return _kept.pop(url, [])
