"""The receiver: one thread that keeps the worker supplied, and no more than that.

1. Wait for room: the worker holds no more than `Prefetch.target`, and fetches again when half of it is used up. What
   waits to be settled is bounded as well, so that a million messages nobody can run are no memory.
2. Take a batch from the broker; admit it; hand verdicts to the settler and runs to the pool. While batches bring
   nothing to run (unknown, expired, over their limit) each next one is twice as large; surplus runs go straight back.
3. What a settlement took (the next step of a chain, while a slot is free) goes the same way, in the settler's thread:
   this one then sleeps through the chain.
4. A lost connection ends the thread and is reported to the generation.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celeriac import events
from celeriac.errors import StoreError
from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac.model.request import Request
from celeriac.runtime.admission import Admission, Admitted
from celeriac.runtime.inflight import Held, Inflight
from celeriac.runtime.prefetch import LIMIT, Prefetch
from celeriac.runtime.settler import Settler

if TYPE_CHECKING:
    from celeriac.runtime.consumer import Generation
    from celeriac.spi.pool import Pool
    from celeriac.spi.transport import Transport

__all__ = ["Receiver"]

logger: logging.Logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""How long one call waits for a message; only bounds a call that a transport forgot to end."""


class Receiver:
    """Takes, admits and submits over one connection generation."""

    def __init__(
        self,
        *,
        generation: Generation,
        transport: Transport,
        queues: Sequence[str],
        admission: Admission,
        inflight: Inflight,
        prefetch: Prefetch,
        settler: Settler,
        pool: Pool,
        halted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.batches: int = 0
        """How many batches came; what the watchdog looks at."""
        self._generation = generation
        self._transport = transport
        self.queues: tuple[str, ...] = tuple(queues)
        self._admission = admission
        self._inflight = inflight
        self._prefetch = prefetch
        self._settler = settler
        self._pool = pool
        self._halted = halted
        self._ahead = 1
        """By how much more to take than there is room for: what came before was not to be run."""
        self._taking_in = threading.Lock()
        """Held while a batch is admitted and submitted."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="celeriac-receiver", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Take nothing more; what comes meanwhile is handed back."""
        self._stopping.set()
        self._inflight.wake()
        if self._thread.ident is not None:
            self._transport.wake()
            self._thread.join(timeout)

    def free(self, settled: int) -> int:
        """Return how many messages could run at once when `settled` runs have been settled; 0 if that is unclear."""
        if self._taking_in.locked() or self._ended:
            return 0
        return self._prefetch.slots - len(self._inflight) + settled

    def accept(self, deliveries: Sequence[Delivery]) -> None:
        """Take in what a settlement took; called by the settler, and never raises."""
        try:
            self._take_in(deliveries, len(deliveries))
        except StoreError as error:
            self._generation.lose(error)
        except BaseException as error:  # a listener of the user's: SystemExit would end the settler unseen
            logger.exception("receiver failed", extra={"event": "receiver_failed"})
            self._generation.lose(error)

    @property
    def _ended(self) -> bool:
        """Given up, or told to stop: the next generation, or this one, settles what still comes."""
        return self._generation.ended or self._stopping.is_set() or self._halted()

    def _work(self) -> None:
        try:
            while not self._stopping.is_set() and not self._halted():
                room = self._wait_for_room()
                if room > 0:
                    self._receive(room)
        except StoreError as error:
            self._generation.lose(error)
        except Exception as error:
            logger.exception("receiver failed", extra={"event": "receiver_failed"})
            self._generation.lose(error)

    def _wait_for_room(self) -> int:
        """Return how many messages to fetch; 0 after a second without room, or when the pool has been resized."""
        if not self._settler.wait_until_at_most(LIMIT, 0.1):
            return 0
        slots, target = self._prefetch.slots, self._prefetch.target
        low = target // 2 if target > slots else target - 1
        if len(self._inflight) > low and not self._inflight.wait_until_at_most(
            low, 1.0, unless=lambda: self._stopping.is_set() or self._prefetch.slots != slots
        ):
            return 0
        return self._prefetch.target - len(self._inflight)

    def _receive(self, room: int) -> None:
        limit = min(room * self._ahead, max(room, LIMIT))
        deliveries = self._transport.receive(self.queues, limit=limit, timeout=WAIT_SECONDS)
        if deliveries:
            self._take_in(deliveries, room)

    def _take_in(self, deliveries: Sequence[Delivery], room: int) -> None:
        with self._taking_in:
            self._admit(deliveries, room)

    def _admit(self, deliveries: Sequence[Delivery], room: int) -> None:
        if self._ended:
            self._settler.post([_back(delivery) for delivery in deliveries])
            return
        self.batches += 1
        deliveries = self._settler.regain(deliveries)
        if not deliveries:
            return
        self._prefetch.weigh(sum(len(delivery.message.body) for delivery in deliveries), len(deliveries))
        admitted = self._admission.admit(deliveries)
        self._settler.post(admitted.verdicts)
        ready, ack_first = self._within(room, admitted)
        self._inflight.add(ready)
        self._inflight.add(ack_first)
        self._settler.acknowledge_first(ack_first, self._submit_acknowledged)
        self._submit(_announced(ready))

    def _within(self, room: int, admitted: Admitted) -> tuple[list[Held], list[Held]]:
        """Return what there is room for, and hand the rest back; look further ahead if nothing was to be run."""
        ready, ack_first = admitted.ready, admitted.ack_first
        if len(ready) + len(ack_first) <= room:
            self._ahead = 1 if ready or ack_first else min(self._ahead * 2, LIMIT)
            return ready, ack_first
        self._ahead = 1
        first = ack_first[: max(0, room - len(ready))]
        surplus = [*ready[room:], *ack_first[len(first) :]]
        self._settler.post([_back(held.delivery) for held in surplus])
        return ready[:room], first

    def _submit(self, requests: list[Request]) -> None:
        try:
            self._pool.submit(requests)
        except BaseException:  # the pool has stopped, or fails: what it did not take must not stay here for ever
            self._settler.give_back(requests, started=False)
            raise

    def _submit_acknowledged(self, requests: Sequence[Request]) -> None:
        """Run what is acknowledged; once the worker stops, publish it anew instead."""
        if self._stopping.is_set():
            self._settler.give_back(requests, started=False)
        else:
            self._pool.submit(requests)


def _back(delivery: Delivery | None) -> Verdict:
    return Verdict(delivery=delivery, action=Action.RELEASE, counted=False)


def _announced(held: list[Held]) -> list[Request]:
    requests = [one.request for one in held]
    if events.task_received.receivers:
        for request in requests:
            events.task_received.send(request.task, request=request)
    return requests
