"""The settler: one thread that commits everything that ended since its last commit.

1. Pools report outcomes and admission posts verdicts; both only append to a list. The thread is woken only where it
   sleeps: while tasks end faster than they are settled, telling of one costs no lock and no switch of threads.
2. The thread takes the whole list and settles it in one go: in one transaction where broker and result store are one
   system, else results, then follow-ups, then verdicts, so that a kill at any instant loses nothing.
3. What the broker refuses, because its lease had lapsed, is counted and logged; it takes no effect, until the message
   comes back to this worker.
4. A lost connection keeps the list; the next generation of the connection settles it.
5. One item that cannot be written holds up no other: it is settled alone, with less, as a dead letter.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from celeriac import events
from celeriac.errors import StoreError
from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Outcome, Verdict
from celeriac.model.request import Request
from celeriac.runtime.commits import Item, Stores, Taker, is_outage, verdict_on
from celeriac.runtime.fallbacks import fallbacks
from celeriac.runtime.inflight import Held, Inflight
from celeriac.runtime.journal import Journal
from celeriac.runtime.prefetch import Prefetch
from celeriac.runtime.regaining import Regaining

if TYPE_CHECKING:
    from celeriac.runtime.failures import Failures
    from celeriac.spi.results import ResultStore
    from celeriac.spi.transport import Transport

__all__ = ["Settler"]

logger: logging.Logger = logging.getLogger(__name__)

BATCH = 1000
"""The most that is settled in one transaction: bounds its duration and its memory."""


_processes = 0
"""How many forks lie between the first process and this one: cheaper to compare than process ids."""


def _count_process() -> None:
    global _processes  # noqa: PLW0603  what else tells a forked process from its parent
    _processes += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_process)


class Settler:
    """Settles in the order things were handed in.

    Args:
        timeout: Seconds for each call of a store.
        sender: Who events are sent by.
        failures: What makes a failure of a run whose result cannot be written; without it who waits is not told.
    """

    def __init__(
        self,
        *,
        inflight: Inflight,
        prefetch: Prefetch,
        journal: Journal,
        timeout: float,
        sender: object = None,
        failures: Failures | None = None,
    ) -> None:
        self.refused: int = 0
        self.settled: int = 0
        self.regaining = Regaining(inflight)
        self._inflight = inflight
        self._prefetch = prefetch
        self._journal = journal
        self._timeout = timeout
        self._sender = sender
        self._failures = failures
        self._stores: Stores | None = None
        self._on_lost: Callable[[BaseException], None] = lambda _: None
        self._reported: deque[Outcome] = deque()
        """What pools told of since `_absorb` last looked. Appending to it and taking from it are atomic."""
        self._idle = False
        """Whether the thread sleeps, or is about to: whoever has something for it must wake it."""
        self._waiting = 0
        self._pending: list[Item] = []
        self._batch: list[Item] = []
        """What is being settled."""
        self._limit = BATCH
        self._stopping = False
        self._process = _processes
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="celeriac-settler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after what it is doing; use `flush` first."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(self._timeout * 2)

    def attach(
        self, transport: Transport, results: ResultStore | None, on_lost: Callable[[BaseException], None]
    ) -> None:
        """Settle over these connections from now on; `on_lost` is told when one of them breaks."""
        stores = Stores(transport, results, self._timeout)
        with self._changed:
            self._stores = stores
            self._on_lost = on_lost
            self._changed.notify_all()

    def take_for(self, taker: Taker) -> None:
        """Let settlements over these connections take what follows for `taker`."""
        with self._changed:
            if self._stores is not None:
                self._stores.taker = taker

    def detach(self) -> None:
        """Keep what comes until the next `attach`."""
        with self._changed:
            self._stores = None
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._batch, self._timeout)
            finally:
                self._waiting -= 1

    def report(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes of runs, from any thread; what a pool calls."""
        if self._process != _processes:
            # A task forked and the copy returned: it must settle nothing, run nothing, and has no thread to do so.
            os._exit(0)
        ended = self._inflight.ended
        for outcome in outcomes:
            ended(outcome.key)
        self._reported.extend(outcomes)
        if self._idle:  # looked at only now: the thread says so first, and then looks at what was reported
            with self._changed:
                self._idle = False
                self._changed.notify_all()

    def post(self, verdicts: Sequence[Verdict]) -> None:
        """Take in verdicts on deliveries that do not run."""
        if verdicts:
            self._append([Item(verdict) for verdict in verdicts])

    def acknowledge_first(self, held: Sequence[Held], then: Callable[[Sequence[Request]], None]) -> None:
        """Acknowledge deliveries before they run, and run only those whose acknowledgement was accepted."""
        if held:
            self._append([Item(Verdict(delivery=one.delivery), held=one, then=then) for one in held])

    def give_back(self, requests: Sequence[Request], *, started: bool) -> list[Request]:
        """Hand runs back to their queues; what had not started does not count as delivered.

        A run whose message was acknowledged first is published anew, unless it had started.

        Returns: the runs that cannot be handed back: they had started, and their messages are gone.
        """
        items, gone = [], []
        with self._changed:
            self._absorb()
        for request in requests:
            held = self._inflight.get(request.key)
            if held is None:
                continue
            if held.delivery is not None:
                verdict = Verdict(delivery=held.delivery, action=Action.RELEASE, counted=started)
            elif not started:
                verdict = Verdict(delivery=None, followups=(request.message,))
            else:
                gone.append(request)
                continue
            items.append(Item(verdict, held=held))
        if items:
            self._append(items)
        return gone

    def regain(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return what is to be admitted: all but the messages of runs of this worker that go on, or have ended."""
        fresh, done = self.regaining.recognise(deliveries)
        if done:
            self._append(done)
        return fresh

    def deliveries(self) -> list[Delivery]:
        """Return the deliveries whose verdicts wait to be settled."""
        with self._changed:
            self._absorb()
            verdicts = [item.verdict for item in (*self._batch, *self._pending)]
        return [verdict.delivery for verdict in verdicts if verdict.delivery is not None]

    def keys(self) -> set[int]:
        """Return the keys of the runs that have ended, or are handed back, and wait to be settled."""
        with self._changed:
            self._absorb()
            return {item.held.request.key for item in (*self._batch, *self._pending) if item.held is not None}

    def flush(self, timeout: float) -> bool:
        """Wait until everything handed in is settled; return False if that did not happen in time."""
        return self.wait_until_at_most(0, timeout)

    def wait_until_at_most(self, count: int, timeout: float) -> bool:
        """Wait until no more than `count` verdicts are unsettled; return False on timeout."""
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(lambda: self._unsettled() <= count, timeout)
            finally:
                self._waiting -= 1

    def _unsettled(self) -> int:
        self._absorb()
        return len(self._pending) + len(self._batch)

    def _append(self, items: list[Item]) -> None:
        with self._changed:
            self._absorb()
            self._pending.extend(items)
            self._changed.notify_all()

    def _absorb(self) -> None:
        """Make items of the outcomes that were reported; the lock is held."""
        reported = self._reported
        if not reported:
            return
        total, count = 0.0, 0
        for _ in range(len(reported)):
            outcome = reported.popleft()
            held = self._inflight.get(outcome.key)
            if held is None:
                continue  # handed back, or lost with its lease, while it ran
            total += outcome.runtime
            count += 1
            self._pending.append(Item(verdict_on(held, outcome), held, outcome))
        if count:
            self._prefetch.observe(total, count)

    def _sleep(self) -> None:
        """Wait until there is something to settle and a connection to do so, or the end; the lock is held."""
        while True:
            self._absorb()
            if self._stopping or (self._pending and self._stores is not None):
                self._idle = False
                return
            self._idle = True
            if not self._reported:
                self._changed.wait()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._sleep()
                if self._stopping:
                    return
                batch, self._pending = self._pending[: self._limit], self._pending[self._limit :]
                self._batch = batch
                stores, on_lost = self._stores, self._on_lost
            assert stores is not None  # noqa: S101  narrows the type; wait_for saw it
            try:
                try:
                    self._settle_all(batch, stores)
                finally:
                    stores.pass_on()
            except StoreError as error:
                self._keep(stores)
                on_lost(error)
            except BaseException as error:  # whatever it is, this thread must live: all others wait for it
                logger.exception("settler failed", extra={"event": "internal_error"})
                self._keep(stores)
                on_lost(error)
            else:
                with self._changed:
                    self._batch = []
                    self._limit = min(BATCH, self._limit * 2)
                    if self._waiting:
                        self._changed.notify_all()

    def _keep(self, stores: Stores) -> None:
        """Put what is not settled back; wait for another connection, since this one did not do it.

        The next try takes half as much, and a single item that fails goes to the end: a store that refuses one of
        them, a result too large for what room is left, say, gets all the others.
        """
        with self._changed:
            left = [item for item in self._batch if not item.settled]
            self._limit = max(1, len(self._batch) // 2)
            self._pending = [*left, *self._pending] if len(self._batch) > 1 else [*self._pending, *left]
            self._batch = []
            if self._stores is stores:
                self._stores = None
            self._changed.notify_all()

    def _settle_all(self, batch: list[Item], stores: Stores) -> None:
        """Settle a batch; if it cannot be written, settle its members apart, so that one bad one holds up no other."""
        try:
            self._finish_all(batch, stores.commit(batch))
        except Exception as error:
            if is_outage(error):
                raise
            if len(batch) > 1:
                for item in batch:
                    self._settle_all([item], stores)
            else:
                logger.exception("what a task leads to cannot be written", extra={"event": "settle_failed"})
                self._settle_bare(batch[0], error, stores)

    def _settle_bare(self, item: Item, error: Exception, stores: Stores) -> None:
        """Settle an item that cannot be written as it is, in the first other way that can."""
        for fallback in fallbacks(item, error, self._failures):
            item.verdict, item.outcome = fallback.verdict, fallback.outcome
            try:
                self._finish_all([item], stores.commit([item]))
            except Exception as next_error:
                if is_outage(next_error):
                    raise
                logger.exception("a dead letter cannot be written", extra={"event": "settle_failed"})
            else:
                return
        # The broker hands it back when this worker connects anew, or ends.
        item.settled = True
        if item.held is not None:
            self._inflight.remove([item.held.request.key])

    def _finish_all(self, batch: list[Item], refused: list[Item]) -> None:
        for item in batch:  # what is settled is never settled again, whatever happens to the rest
            item.settled = True
        if refused:
            late = set(map(id, refused))
            batch = [item for item in batch if id(item) not in late]
            self._refuse(refused)
        self.regaining.settle(batch)
        self._finish(batch)

    def _finish(self, items: list[Item]) -> None:
        """Forget what is settled, start what had to be acknowledged first, and tell."""
        self.settled += len(items)
        start: dict[Callable[[Sequence[Request]], None], list[Request]] = {}
        done: list[int] = []
        told: list[Item] = []
        wanted = self._journal.wanted()
        for item in items:
            held = item.held
            if held is None:
                continue
            if item.then is not None:
                held.delivery = None
                start.setdefault(item.then, []).append(held.request)
                continue
            done.append(held.request.key)
            if item.outcome is not None and item.outcome.state in wanted:
                told.append(item)
        if done:
            self._inflight.remove(done)
        for then, requests in start.items():
            self._start(then, requests)
        for item in told:
            if item.held is not None and item.outcome is not None:
                self._tell(item.held.request, item.outcome)

    def _start(self, then: Callable[[Sequence[Request]], None], requests: list[Request]) -> None:
        try:
            then(requests)
        except Exception:  # the pool has stopped, or fails: nobody else has these messages any more
            logger.exception("acknowledged tasks not started", extra={"event": "submit_failed"})
            self.give_back(requests, started=False)

    def _tell(self, request: Request, outcome: Outcome) -> None:
        try:
            self._journal.settled(request, outcome)
        except BaseException:  # a listener of the user's: SystemExit would end this thread unseen
            logger.exception("task_settled failed", extra={"event": "receiver_failed", "task": request.task})

    def _refuse(self, items: list[Item]) -> None:
        again = [item for item in map(self.regaining.refuse, items) if item is not None]
        if again:
            self._append(again)
        self.refused += len(items)
        logger.warning(
            "%d verdicts refused: the lease had lapsed, or the connection that took the messages is gone",
            len(items),
            extra={"event": "settle_refused", "count": len(items), "total": self.refused},
        )
        if events.settle_refused.receivers:
            events.settle_refused.send(self._sender, verdicts=[item.verdict for item in items])
