"""A transport that fails when told to, around any real one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, cast

from msgspec import Struct

from celeriac.errors import TransportLost
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.routing import Queue
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.results import ResultStore
from celeriac.spi.transport import (
    ChecksRevocations,
    Commits,
    Declares,
    Inspects,
    KeepsLetters,
    Leases,
    Letter,
    LetterKind,
    QueueDepth,
    Transport,
)

__all__ = ["Faults", "FaultyTransport"]

T = TypeVar("T")
When = Literal["before", "after"]


class _Fault(Struct):
    call: int | None
    when: When
    raises: BaseException | None
    delay: float


class Faults:
    """The faults to come, shared by every transport that was wrapped with them. From any thread.

    Calls of one method are counted over all those transports, from 1, failed ones included. A method is named as in
    `celeriac.spi.transport`: `publish`, `receive`, `settle`, `renew`, `declare`, `open`, …
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        """How often each method was called so far."""
        self._lock = threading.Lock()
        self._asleep = False
        self._faults: dict[str, list[_Fault]] = {}

    def lose(self, method: str, *calls: int, when: When = "before", error: BaseException | None = None) -> None:
        """Raise TransportLost, or `error`, at these calls; at the next one if none is given.

        With `when="after"` the call takes effect first, which its caller cannot know: the answer was lost.
        """
        self._add(method, calls, when, error or TransportLost(f"a fault that was asked for: {method}"), 0.0)

    def delay(self, method: str, seconds: float, *calls: int, when: When = "before") -> None:
        """Make these calls, or the next one, take `seconds` longer by the transport's clock."""
        self._add(method, calls, when, None, seconds)

    def sleep(self) -> None:
        """Lose every call from now on, as if the broker were gone."""
        self._asleep = True

    def wake_up(self) -> None:
        """Be there again."""
        self._asleep = False

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Sleep for the time of a `with` block."""
        self.sleep()
        try:
            yield
        finally:
            self.wake_up()

    @property
    def pending(self) -> int:
        """How many faults have not happened yet: 0 at the end of a test that meant each of them."""
        with self._lock:
            return sum(map(len, self._faults.values()))

    def run(self, transport: Transport, method: str, work: Callable[[], T]) -> T:
        """Make one call, with what is to go wrong before and after it."""
        faults = self._due(method)
        self._happen(transport, method, [fault for fault in faults if fault.when == "before"])
        answer = work()
        self._happen(transport, method, [fault for fault in faults if fault.when == "after"])
        return answer

    def _add(self, method: str, calls: Sequence[int], when: When, error: BaseException | None, delay: float) -> None:
        with self._lock:
            waiting = self._faults.setdefault(method, [])
            waiting += [_Fault(call, when, error, delay) for call in calls or [self.calls[method] + 1]]

    def _due(self, method: str) -> list[_Fault]:
        with self._lock:
            self.calls[method] += 1
            waiting = self._faults.get(method, [])
            due = [fault for fault in waiting if fault.call == self.calls[method]]
            self._faults[method] = [fault for fault in waiting if fault not in due]
            return due

    def _happen(self, transport: Transport, method: str, faults: Sequence[_Fault]) -> None:
        if self._asleep:
            raise TransportLost(f"{transport.address} at {method}: asleep")
        for fault in faults:
            if fault.delay:
                transport.clock.sleep(fault.delay)
            if fault.raises is not None:
                raise fault.raises


class FaultyTransport(Transport):
    """Passes every call on to another transport, with faults. Made by `wrap`.

    It has the capabilities and the optional interfaces of what it wraps, neither more nor fewer. `close` and `wake`
    never fail.
    """

    inner: Any
    faults: Faults

    @staticmethod
    def wrap(inner: Transport, faults: Faults) -> FaultyTransport:
        """Return `inner` with these faults."""
        optional = [faulty for plain, faulty in _OPTIONAL.items() if isinstance(inner, plain)]
        fields = {"capabilities": inner.capabilities, "options": inner.options}
        kind = type(f"Faulty{type(inner).__name__}", (*optional, FaultyTransport), fields)
        faulty = cast("FaultyTransport", kind(inner.address, inner.context))
        faulty.inner = inner
        faulty.faults = faults
        return faulty

    def _open(self, timeout: float) -> None:
        self.faults.run(self, "open", lambda: self.inner.open(timeout=timeout))

    def _close(self) -> None:
        self.inner.close()

    def _publish(self, messages: Sequence[Message], timeout: float) -> None:
        self.faults.run(self, "publish", lambda: self.inner.publish(messages, timeout=timeout))

    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return self.faults.run(self, "receive", lambda: self.inner.receive(queues, limit=limit, timeout=timeout))

    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]:
        return self.faults.run(self, "settle", lambda: self.inner.settle(verdicts, timeout=timeout))

    def _wake(self) -> None:
        self.inner.wake()


class _FaultyDeclares(FaultyTransport, Declares):
    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        self.faults.run(self, "declare", lambda: self.inner.declare(queues, timeout=timeout))


class _FaultyLeases(FaultyTransport, Leases):
    @property
    def lease_seconds(self) -> float:
        return float(self.inner.lease_seconds)

    def renew(self, *, timeout: float) -> bool:
        return bool(self.faults.run(self, "renew", lambda: self.inner.renew(timeout=timeout)))

    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        return int(self.faults.run(self, "retain", lambda: self.inner.retain(deliveries, timeout=timeout)))


class _FaultyCommits(FaultyTransport, Commits):
    def commits_with(self, results: ResultStore) -> bool:
        return bool(self.inner.commits_with(results))

    def settle_and_take(
        self, verdicts: Sequence[Verdict], queues: Sequence[str], *, limit: int, timeout: float
    ) -> tuple[list[Verdict], list[Delivery]]:
        refused, taken = self.faults.run(
            self, "settle", lambda: self.inner.settle_and_take(verdicts, queues, limit=limit, timeout=timeout)
        )
        return refused, taken


class _FaultyChecksRevocations(FaultyTransport, ChecksRevocations):
    def checks_with(self, coordinator: Coordinator, name: str) -> bool:
        return bool(self.inner.checks_with(coordinator, name))


class _FaultyInspects(FaultyTransport, Inspects):
    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        return self.faults.run(self, "depths", lambda: self.inner.depths(queues, timeout=timeout))

    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        return self.faults.run(self, "browse", lambda: self.inner.browse(queue, limit=limit, timeout=timeout))

    def purge(self, queue: str, *, timeout: float) -> int:
        return int(self.faults.run(self, "purge", lambda: self.inner.purge(queue, timeout=timeout)))


class _FaultyLetters(FaultyTransport, KeepsLetters):
    def letters(
        self, kind: LetterKind | None = None, *, limit: int, after: str | None = None, timeout: float
    ) -> list[Letter]:
        return self.faults.run(
            self, "letters", lambda: self.inner.letters(kind, limit=limit, after=after, timeout=timeout)
        )

    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        return int(self.faults.run(self, "replay", lambda: self.inner.replay(ids, timeout=timeout)))

    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        return int(self.faults.run(self, "discard", lambda: self.inner.discard(ids, timeout=timeout)))


_OPTIONAL: dict[type[Any], type[FaultyTransport]] = {
    Declares: _FaultyDeclares,
    Leases: _FaultyLeases,
    Commits: _FaultyCommits,
    ChecksRevocations: _FaultyChecksRevocations,
    Inspects: _FaultyInspects,
    KeepsLetters: _FaultyLetters,
}
