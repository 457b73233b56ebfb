"""A bench for transports: short ways to publish, to take, and to see that nothing comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import pytest

from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.coordinator import Coordinator
from celeriac.spi.results import ResultStore
from celeriac.spi.transport import Commits, Declares, Inspects, KeepsLetters, Leases, QueueDepth, Transport
from celeriac.testing.contracts.bench import TIMEOUT, Bench

__all__ = ["LATER", "Q", "TransportBench", "TransportTests", "bodies", "message"]

T = TypeVar("T")

Q = "q"
"""The queue that most tests use."""

LATER = 1.0
"""A delay: long enough to be seen in real time, short enough to be waited for."""

_QUIET = 0.1
"""How many real seconds a store with a clock of its own is watched for what must not come."""

_TRIES = 100
"""How often a store that obeys the clock is asked for what must come."""


def message(body: str | bytes = b"", queue: str = Q, **fields: Any) -> Message:
    """Make a message for `queue`, by its name."""
    return Message(body=body.encode() if isinstance(body, str) else body, routing_key=queue, **fields)


def bodies(found: Sequence[Delivery] | Sequence[Message]) -> list[str]:
    """Return the bodies, in order."""
    return [(one.message if isinstance(one, Delivery) else one).body.decode() for one in found]


class TransportBench(Bench[Transport]):
    """A fresh broker."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, "transport")

    @property
    def capabilities(self) -> Any:
        """What the transport declares."""
        return self.unopened().capabilities

    def require(self, capability: str) -> None:
        """Skip the test unless the transport declares `capability`."""
        if not getattr(self.capabilities, capability):
            pytest.skip(f"the transport does not declare {capability}")

    def connect_results(self) -> ResultStore:
        """Return an open connection to the result store of the same address."""
        results = self.harness.connect_results(clock=self.clock)
        assert results is not None, "the harness of a transport that commits must name its result store"
        self._stack.callback(results.close)
        results.open(timeout=TIMEOUT)
        return results

    def connect_coordinator(self) -> Coordinator:
        """Return an open connection to the coordinator of the same address."""
        coordinator = self.harness.connect_coordinator(clock=self.clock)
        assert coordinator is not None, "the harness of a transport that checks revocations must name its coordinator"
        self._stack.callback(coordinator.close)
        coordinator.open(timeout=TIMEOUT)
        return coordinator

    def publish(self, transport: Transport, *texts: str, queue: str = Q, **fields: Any) -> None:
        """Publish one message per text, as one batch."""
        transport.publish([message(text, queue, **fields) for text in texts], timeout=TIMEOUT)

    def look(self, transport: Transport, queues: Sequence[str] = (Q,), *, limit: int = 1000) -> list[Delivery]:
        """Take what is there, without waiting for more."""
        return transport.receive(queues, limit=limit, timeout=0.0 if self.virtual else _QUIET)

    def take(self, transport: Transport, count: int = 1, queues: Sequence[str] = (Q,)) -> list[Delivery]:
        """Take `count` messages, which must come."""
        taken: list[Delivery] = []
        end, tries = time.monotonic() + self.patience, 0
        while len(taken) < count and (tries < _TRIES if self.virtual else time.monotonic() < end):
            taken += self.look(transport, queues, limit=count - len(taken))
            tries += 1
        assert len(taken) == count, f"{len(taken)} of {count} messages came: {bodies(taken)}"
        return taken

    def take_one(self, transport: Transport, queue: str = Q) -> Delivery:
        """Take one message, which must come."""
        return self.take(transport, 1, [queue])[0]

    def drain(self, transport: Transport, queues: Sequence[str] = (Q,)) -> list[str]:
        """Take and acknowledge everything; return the bodies in the order they came."""
        found: list[str] = []
        while taken := self.look(transport, queues):
            found += bodies(taken)
            self.settle(transport, *taken)
        return found

    def assert_empty(self, transport: Transport, queue: str = Q) -> None:
        """Check that nothing can be taken."""
        assert bodies(self.look(transport, [queue])) == []

    def assert_gone(self, transport: Transport, queue: str = Q) -> None:
        """Check that nothing is left, held by this transport's holder included."""
        if transport.capabilities.leases:
            self.lapse(transport)
        transport.close()
        self.assert_empty(self.connect("somebody else"), queue)

    def settle(self, transport: Transport, *deliveries: Delivery, **fields: Any) -> None:
        """Carry out one verdict on each delivery, none of which may be refused."""
        refused = transport.settle([Verdict(delivery=one, **fields) for one in deliveries], timeout=TIMEOUT)
        assert refused == [], "the verdict of the holder was refused"

    def depth(self, transport: Transport, queue: str = Q) -> QueueDepth:
        """Return the depth of one queue."""
        inspecting = as_a(Inspects, transport)
        (found,) = inspecting.depths([queue], timeout=TIMEOUT)
        return found

    def lease_seconds(self, transport: Transport) -> float:
        """Return how long a lease lasts."""
        return as_a(Leases, transport).lease_seconds

    def lapse(self, transport: Transport) -> None:
        """Let every lease lapse."""
        self.pass_time(self.lease_seconds(transport) * 1.01)


def as_a(wanted: type[T], transport: Transport) -> T:
    """Return `transport` as one of the optional interfaces, which its capabilities say it has."""
    assert isinstance(transport, wanted), f"it declares what {wanted.__name__} offers without being one"
    return transport


class TransportTests:
    """What the parts of the suite have in common: where the bench comes from."""

    harness: ClassVar[Any]
    """The harness module of the plugin."""

    @pytest.fixture
    def bench(self) -> Iterator[TransportBench]:
        """Give each test a fresh broker."""
        with TransportBench(self.harness) as bench:
            yield bench


OPTIONAL: dict[str, type[Any]] = {
    "exchanges": Declares,
    "leases": Leases,
    "commits": Commits,
    "inspects": Inspects,
    "letters": KeepsLetters,
}
"""Each capability and the interface that goes with it."""

ASIDE = (Action.DEAD, Action.PARK)
