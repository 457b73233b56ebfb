"""What one transport has taken and not settled yet, and what of it nobody was handed yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Final

from msgspec import Struct

from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac_kombu.link import Taken

__all__ = ["Held", "Holding"]

_STRAY_SECONDS: Final = 1.0
"""How long a message of a queue that nobody asks for any more is kept."""


class Held(Struct, frozen=True):
    """A delivery, the message as kombu has it, and since when it is here, by the machine's steady clock."""

    raw: Any
    delivery: Delivery
    since: float


class Holding:
    """Thread-safe. Tags are never used twice, and no other object's are known here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._self = object()
        self._numbers = count(1)
        self._held: dict[Any, Held] = {}
        self._ready: list[Held] = []

    def add(self, taken: Iterable[Taken]) -> None:
        """Hold what was taken; it is ready to be handed out."""
        with self._lock:
            for raw, queue, message, before in taken:
                tag = (self._self, next(self._numbers))
                delivery = Delivery(message=message, queue=queue, tag=tag, deliveries=before + 1)
                held = Held(raw, delivery, time.monotonic())
                self._held[tag] = held
                self._ready.append(held)

    def hand_out(self, queues: Sequence[str], limit: int) -> list[Delivery]:
        """Return what is ready of these queues, earlier queues first."""
        with self._lock:
            if not self._ready:
                return []
            chosen = [held for queue in queues for held in self._ready if held.delivery.queue == queue][:limit]
            tags = {held.delivery.tag for held in chosen}
            self._ready = [held for held in self._ready if held.delivery.tag not in tags]
            return [held.delivery for held in chosen]

    def strays(self, queues: Sequence[str]) -> list[Verdict]:
        """Return as verdicts to carry out: what is ready, but of queues that nobody has asked for in a while."""
        with self._lock:
            if not self._ready:
                return []
            before = time.monotonic() - _STRAY_SECONDS
            strays = [held for held in self._ready if held.since < before and held.delivery.queue not in queues]
            self._ready = [held for held in self._ready if held not in strays]
            return [_release(held) for held in strays]

    def claim(self, verdicts: Sequence[Verdict]) -> tuple[list[tuple[Verdict, Held]], list[Verdict]]:
        """Give up what these verdicts are on: the ones that are held here, and the ones to refuse."""
        accepted, refused = [], []
        with self._lock:
            for verdict in verdicts:
                if verdict.delivery is None:
                    continue
                held = self._held.pop(verdict.delivery.tag, None)
                if held is None:
                    refused.append(verdict)
                else:
                    accepted.append((verdict, held))
        return accepted, refused

    def put_back(self, claimed: Iterable[tuple[Verdict, Held]]) -> None:
        """Hold again what a settlement that failed had claimed."""
        with self._lock:
            self._held.update((held.delivery.tag, held) for _, held in claimed)

    def empty(self) -> tuple[list[Held], list[Held]]:
        """Give up everything: what was handed out, and what was not."""
        with self._lock:
            ready = self._ready
            tags = {held.delivery.tag for held in ready}
            handed = [held for tag, held in self._held.items() if tag not in tags]
            self._held, self._ready = {}, []
            return handed, ready


def _release(held: Held) -> Verdict:
    return Verdict(delivery=held.delivery, action=Action.RELEASE, counted=False)
