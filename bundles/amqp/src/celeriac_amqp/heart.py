"""The one thread of a process that keeps its links alive while nobody uses them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from celeriac_amqp.failures import LinkLost

if TYPE_CHECKING:
    from celeriac_amqp.link import Link

__all__ = ["HEART", "Heart"]

_LONGEST_SECONDS = 1.0


class Heart:
    """Beats for every open link, from a thread that runs while there are any.

    A forked process finds the links of its parent here and leaves them alone.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._links: set[Link] = set()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, link: Link) -> None:
        """Beat for a link from now on."""
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            self._links.add(link)
            if self._thread is None:
                self._changed = threading.Event()
                self._thread = threading.Thread(target=self._run, name="celeriac-amqp-heart", daemon=True)
                self._thread.start()
            self._changed.set()

    def remove(self, link: Link) -> None:
        """Beat no more for a link; with the last one the thread ends."""
        if self._pid == os.getpid():
            with self._lock:
                self._links.discard(link)
                if not self._links:
                    self._changed.set()

    def _run(self) -> None:
        while True:
            with self._lock:
                links = list(self._links)
                if not links:
                    self._thread = None
                    return
                self._changed.clear()
            for link in links:
                try:
                    link.beat()
                except Exception as error:  # noqa: BLE001  one link must not end the beat of the others
                    link.fail(LinkLost(f"{link.location.label}: the connection failed: {error!r}"))
            seconds = min((link.heartbeat_seconds / 4 for link in links if link.heartbeat_seconds), default=1.0)
            self._changed.wait(min(seconds, _LONGEST_SECONDS))


HEART = Heart()
