"""Slots that are threads of this process: all of the pool `threads`, and a part of others.

Three things are hard here, and each has a place of its own: who owns a request (`ThreadSlots`), when an exception may
be raised inside a thread (`interruption`), and which runs have reached a limit (`limit_watch`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import Context, copy_context

from celeriac.errors import InternalError, TaskRevokedError
from celeriac.model.request import Request
from celeriac.runtime.limit_watch import LimitWatch
from celeriac.runtime.thread_slot import ThreadSlot
from celeriac.spi.pool import Kills, Places, Pool, PoolContext, Resizes

__all__ = ["ThreadSlots"]

log: logging.Logger = logging.getLogger(__name__)

LEAST_STUCK = 4
"""How many stuck threads are borne by the smallest pool before the worker is asked to retire."""


class ThreadSlots(Pool, Kills, Places, Resizes):
    """Runs tasks on `concurrency` threads.

    1. `submit` appends to one deque that all slots take from, oldest first: a task waits only while every slot is
       busy. It wakes as many slots as sleep and are needed.
    2. A slot runs its request in a context of its own and reports the outcome at once, alone: what is finished never
       waits behind what runs.
    3. `stop` takes what has not started and waits for the slots to end. At the deadline it takes the running
       requests away from their slots; what those runs bring afterwards is dropped.
    4. A run that reaches its hard limit, or is terminated, is taken away from its slot and reported as failed. Another
       thread takes the slot's place. The old one is told to end, by SystemExit, and is stuck until it does.
    5. When too many are stuck, the worker is asked to retire.

    Whatever comes out of `execute`, SystemExit included, fails that run and keeps its slot. The threads are daemons, so
    one that was abandoned does not keep the process from exiting.

    Each slot has a lock of its own, which nobody else wants except `drain`, `stop` and the watch: with one lock for
    all, eight slots spent ten times as long on each other as on a tiny task. `_lock` is always taken before those of
    the slots.

    Args:
        concurrency: How many slots.
        context: The pool's.
        name: What the threads' names begin with.
        stuck_limit: How many stuck threads to bear; None is as many as there are slots, at least `LEAST_STUCK`.
    """

    def __init__(
        self,
        concurrency: int,
        context: PoolContext,
        *,
        name: str = "celeriac-threads",
        stuck_limit: int | None = None,
    ) -> None:
        super().__init__(concurrency, context)
        self.waiting: deque[Request] = deque()
        self.stopped: bool = False
        self.surplus: int = 0
        """How many slots are to end after what they run."""
        self.watch: LimitWatch[ThreadSlot] = LimitWatch(self, f"{name}-watch")
        self.stuck: list[ThreadSlot] = []
        """Threads that were given up and have not ended."""
        self._name = name
        self._stuck_limit = stuck_limit
        self._retired = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._telling = threading.Lock()
        self._sleeping = 0
        self._slots: list[ThreadSlot] = []
        self._made = 0
        self._variables: Context = Context()

    @property
    def slots(self) -> list[ThreadSlot]:
        """The slots there are now, as a copy."""
        with self._lock:
            return list(self._slots)

    def _start(self) -> None:
        self._variables = copy_context()
        try:
            with self._lock:
                for _ in range(self.concurrency):
                    self._add_slot()
        except RuntimeError:  # the system has no room for another thread
            self._stop(None)
            raise

    def _submit(self, requests: Sequence[Request]) -> None:
        with self._lock:
            if self.stopped:
                raise InternalError(f"{len(requests)} requests were submitted to a pool that was stopped.")
            self.waiting.extend(requests)
            if self._sleeping:
                self._work.notify(len(requests))

    def _drain(self) -> list[Request]:
        with self._lock, ExitStack() as stack:
            # While all slots are held none can take a later request and leave an earlier one to us.
            for slot in self._slots:
                stack.enter_context(slot.lock)
            taken = list(self.waiting)
            self.waiting.clear()
            return taken

    def _stop(self, timeout: float | None) -> list[Request]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self.stopped = True
            self._work.notify_all()
        unstarted = self._drain()
        unended = []
        for slot in self.slots:
            if not slot.left.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                if request := slot.claim():
                    unended.append(request)
                    continue
                slot.left.wait()  # it is within a report, which returns quickly
            if not slot.abandoned:
                slot.join()
        self.watch.stop()
        with self._telling:  # nothing is told after this
            self._slots.clear()
        return unended + unstarted

    def terminate(self, key: int, *, signal: str = "TERM") -> bool:  # noqa: ARG002  no process of its own
        """End the run under a key: its outcome is recorded and its slot is free, its thread is told to end."""
        for slot in self.slots:
            request = slot.running
            if request is not None and request.key == key:
                return self.end_by_force(slot, request, TaskRevokedError("terminated"))
        return False

    def place(self, key: int) -> str | None:
        """Return the name of the thread that runs a key; None if it does not run."""
        for slot in self.slots:
            request = slot.running
            if request is not None and request.key == key:
                return slot.name
        return None

    def resize(self, concurrency: int) -> None:
        """Have so many slots from now on; those that are too many end after what they run."""
        with self._lock:
            if self.stopped:
                return
            self.concurrency = concurrency
            excess = len(self._slots) - concurrency
            for _ in range(-excess):
                self._add_slot()
            self.surplus = max(0, excess)
            self._work.notify_all()

    def wait_for_work(self) -> None:
        """Sleep until there may be a request to take, or a reason to end."""
        with self._lock:
            if not self.waiting and not self.stopped and not self.surplus:
                self._sleeping += 1
                self._work.wait()
                self._sleeping -= 1

    def dismiss(self, slot: ThreadSlot) -> bool:
        """Take a slot out of the pool if there are too many; return whether it was."""
        with self._lock:
            if not self.surplus:
                return False
            self.surplus -= 1
            self._slots.remove(slot)
            return True

    def end_by_force(self, slot: ThreadSlot, request: Request, error: Exception) -> bool:
        """Take a run away from its slot, report it as failed, and have another thread take the slot's place.

        Returns: whether it was still running there.
        """
        with self._telling:
            if not slot.take_away(request):
                return False
            try:
                self.context.report((self.context.failed(request, error),))
            except BaseException:
                log.exception("The report of an outcome failed", extra={"event": "report_failed", "id": request.id})
            self._replace(slot)
        log.error(
            "task %s[%s] is ended by force: %r; its thread %s is at:\n%s",
            request.task,
            request.id,
            error,
            slot.name,
            slot.stack(),
            extra={"event": "task_ended_by_force", "task": request.task, "task_id": request.id},
        )
        slot.tell_to_end()
        self.watch.expect_end()
        self._retire_if_too_many()
        return True

    def _add_slot(self) -> None:
        """Start one more; the caller holds the lock. Raises: RuntimeError: there is no room for another thread."""
        self._made += 1
        slot = ThreadSlot(self, self._variables, f"{self._name}-{self._made}")
        slot.start()
        self._slots.append(slot)

    def _replace(self, slot: ThreadSlot) -> None:
        with self._lock:
            if slot in self._slots:
                self._slots.remove(slot)
            self.stuck.append(slot)
            if self.surplus:
                self.surplus -= 1
            elif not self.stopped:
                try:
                    self._add_slot()
                except RuntimeError:
                    log.exception("No thread for a slot", extra={"event": "slot_lost"})

    def _retire_if_too_many(self) -> None:
        with self._lock:
            self.stuck = [slot for slot in self.stuck if slot.is_alive()]
            limit = self._stuck_limit or max(LEAST_STUCK, self.concurrency)
            if self._retired or self.stopped or len(self.stuck) < limit:
                return
            self._retired = True
            places = "; ".join(slot.place() for slot in self.stuck)
        self.context.retire(f"{limit} threads hang in tasks that were given up: {places}")
