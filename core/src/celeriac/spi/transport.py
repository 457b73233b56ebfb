"""Transports: how messages wait, are taken, and are settled.

The contract, which `celeriac.testing.contracts.transport` checks:

1. What `publish` accepted is durable to the degree the transport declares, all of a batch or none of it.
2. A message is in one place at a time: waiting, delayed, held by one holder, dead or parked.
3. Taking a message and recording its holder is one atomic operation. Who dies, or stops renewing, loses what it
   held; the messages return with their delivery count raised.
4. A verdict on a delivery that its holder no longer holds is refused: nothing of it takes effect.
5. Within one queue and one priority, messages come in the order they were published; a higher priority comes first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, final

from msgspec import Struct

from celeriac.errors import StoreError, TransportLost, Unsupported
from celeriac.kernel import plugins
from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Verdict
from celeriac.model.routing import Queue
from celeriac.spi.service import Service

if TYPE_CHECKING:
    from celeriac.spi.coordinator import Coordinator
    from celeriac.spi.results import ResultStore

__all__ = [
    "ChecksRevocations",
    "Commits",
    "Declares",
    "Inspects",
    "KeepsLetters",
    "Leases",
    "Letter",
    "LetterKind",
    "QueueDepth",
    "Transport",
    "TransportCapabilities",
]

LetterKind = Literal["dead", "parked"]


class TransportCapabilities(Struct, frozen=True, kw_only=True):
    """What a transport can do by itself. docs/reference/capabilities.md says what the kernel does without each."""

    delays: bool = False
    """Keeps messages back until they are due."""
    priorities: int = 0
    """How many levels it tells apart; 0 is none."""
    priority_step: int = 1
    """How many numbers make one level: with 3, the priorities 0, 1 and 2 are alike."""
    exchanges: frozenset[str] = frozenset()
    """Exchange types it resolves, of direct, topic and fanout (class `Declares`)."""
    leases: bool = False
    """Ties what is held to a lease that must be renewed (class `Leases`); else to the connection."""
    commits: bool = False
    """Commits results, joins and follow-ups with the verdict in one transaction (class `Commits`)."""
    revocations: bool = False
    """Sees in the take itself whether anything was revoked (class `ChecksRevocations`)."""
    inspects: bool = False
    """Counts and purges what waits (class `Inspects`)."""
    browses: bool = False
    """Of one that `inspects`: shows what waits without taking it, and tells how old the oldest is."""
    sees_delayed: bool = False
    """Of one that `inspects`: counts and purges what is delayed too, and counts what others hold."""
    letters: bool = False
    """Keeps dead and parked messages where they can be listed and replayed (class `KeepsLetters`)."""
    releases_first: bool = True
    """Puts a released message in front of younger ones; else behind all that wait."""
    durable: bool = True
    """What was accepted outlives every process."""
    reach: Literal["process", "machine", "network"] = "network"
    """Who can share it."""
    guarantee: str = "at least once"
    """What is promised when a worker dies, in a few words."""


class QueueDepth(Struct, frozen=True, kw_only=True):
    """How many messages of one queue are where. `oldest_seconds` is the age of the oldest one waiting."""

    queue: str
    waiting: int
    delayed: int = 0
    held: int = 0
    oldest_seconds: float | None = None


class Letter(Struct, frozen=True, kw_only=True):
    """A message put aside. `id` is the transport's own; `moment` is when, in seconds since 1970."""

    id: str
    kind: LetterKind
    queue: str
    reason: str
    moment: float
    deliveries: int
    message: Message


class Transport(Service):
    """A connection to a broker."""

    capabilities: TransportCapabilities = TransportCapabilities()
    """What it can do: the record of its declaration. One whose abilities depend on its address gives each object, as it
    is made, a record with less in it."""
    lost_error: ClassVar[type[StoreError]] = TransportLost

    @final
    def publish(self, messages: Sequence[Message], *, timeout: float) -> None:
        """Put messages on their queues: all of them, or none and an error.

        A queue that does not exist is created. Returning means the broker has them, as durable as it declares.

        Raises: Unroutable: no queue is bound for one of them. TransportLost: the connection broke; it is not known
        whether they were accepted. StoreFull, ReadOnlyStore, DeadlineExceeded: none was. Unsupported: a message is to
        wait or to go first, and this transport cannot do that; none was.
        """
        if messages:
            _refuse_ignored(self, messages)
            with self._call("publish"):
                self._publish(messages, timeout)

    @final
    def receive(self, queues: Sequence[str], *, limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages, waiting at most `timeout` seconds for the first.

        Earlier queues win when several have work. `limit` may be large; a short answer is no sign of an empty queue.

        Returns: between 0 and `limit` deliveries; empty on timeout or after `wake`.
        Raises: TransportLost: the connection broke; what had been taken returns by lease or connection.
        """
        with self._call("receive"):
            return self._receive(queues, limit, timeout)

    @final
    def settle(self, verdicts: Sequence[Verdict], *, timeout: float) -> list[Verdict]:
        """Carry out verdicts, all in one round trip.

        A transport that `commits` writes each verdict's records, joins, parts and follow-ups with it in one
        transaction, in this order, and publishes the message of each join that is complete by it, once; for one that
        does not, they are not set. A verdict without a delivery carries only these.

        Returns: the verdicts refused because their delivery is no longer held here; nothing of them took effect.
        Raises: TransportLost: it is not known which took effect; the caller may settle them again.
        """
        if not verdicts:
            return []
        if not (self.capabilities.delays and self.capabilities.priorities):
            _refuse_ignored(self, [message for verdict in verdicts for message in verdict.followups])
            if not self.capabilities.delays and any(verdict.delay for verdict in verdicts):
                raise Unsupported("putting back with a delay", f"The {self.address.scheme} transport", _able("delays"))
        with self._call("settle"):
            return self._settle(verdicts, timeout)

    @final
    def wake(self) -> None:
        """Make a blocked `receive` return now; the next one if none is blocked. From any thread."""
        self._wake()

    @abstractmethod
    def _publish(self, messages: Sequence[Message], timeout: float) -> None: ...

    @abstractmethod
    def _receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]: ...

    @abstractmethod
    def _settle(self, verdicts: Sequence[Verdict], timeout: float) -> list[Verdict]: ...

    @abstractmethod
    def _wake(self) -> None: ...


def _refuse_ignored(transport: Transport, messages: Sequence[Message]) -> None:
    """Raise Unsupported for what this transport would ignore; nothing of the batch has happened then."""
    able, who = transport.capabilities, f"The {transport.address.scheme} transport"
    if not able.delays and any(message.due is not None for message in messages):
        raise Unsupported("a countdown or an ETA", who, _able("delays"))
    if not able.priorities and any(message.priority for message in messages):
        raise Unsupported("priorities", who, _able("priorities"))


def _able(capability: str) -> list[str]:
    """Return the installed transports that have a capability."""
    declared = {info.name: info.declaration for info in plugins.installed("transport")}
    return [name for name, each in declared.items() if each is not None and getattr(each.capabilities, capability)]


class Declares(ABC):
    """Knows exchanges and bindings."""

    @abstractmethod
    def declare(self, queues: Sequence[Queue], *, timeout: float) -> None:
        """Create the queues, their exchanges and bindings, where they do not exist yet.

        Raises: ConfigurationError: one exists with other properties; says which, and the fix.
        """


class Leases(ABC):
    """Ties what is held to a lease instead of to a connection."""

    @property
    @abstractmethod
    def lease_seconds(self) -> float:
        """How long the lease lasts without being renewed."""

    @abstractmethod
    def renew(self, *, timeout: float) -> bool:
        """Renew this holder's one lease, which covers everything it holds.

        Called from a thread of its own, every third of `lease_seconds`, while `receive` may be blocked.

        Returns: False if the lease had lapsed: what was held is no longer, and a new lease is in force.
        """

    @abstractmethod
    def retain(self, deliveries: Collection[Delivery], *, timeout: float) -> int:
        """Hold on to these, and hand back uncounted whatever else this holder holds; return how many that were.

        Called after `open` and before the first `receive`, with all that the worker knows it holds. An answer of
        `receive` that was lost with an earlier connection would else be held for ever, by a holder that renews.
        """


class Commits(ABC):
    """Can write results, joins and follow-ups in the transaction that settles."""

    @abstractmethod
    def commits_with(self, results: ResultStore) -> bool:
        """Whether `results` is the same store as this broker, so that one transaction covers both."""

    def settle_and_take(
        self,
        verdicts: Sequence[Verdict],
        queues: Sequence[str],  # noqa: ARG002  for those that override it
        *,
        limit: int,  # noqa: ARG002  as above
        timeout: float,
    ) -> tuple[list[Verdict], list[Delivery]]:
        """Settle, and take up to `limit` of the follow-ups in the same step, as `receive` of these queues would.

        Spares the next step of a chain the way into the broker and out again. Only what nothing waits before may be
        taken; what is not waits on its queue. None need ever be, and none is unless a transport overrides this.

        Returns: what `settle` returns, and the deliveries taken.
        Raises: what `settle` raises. If the answer is lost, what was taken returns as after a lost `receive`.
        """
        assert isinstance(self, Transport)  # noqa: S101  an ability of transports: narrows the type
        return self.settle(verdicts, timeout=timeout), []


class ChecksRevocations(ABC):
    """Spares the worker the question whether something was revoked, as long as nothing was."""

    @abstractmethod
    def checks_with(self, coordinator: Coordinator, name: str) -> bool:
        """Look in each take from now on whether the set `name` of `coordinator` exists; return whether that can be.

        Where it can, as the coordinator is the same store as this broker, and one step of it takes messages and finds
        no such set, these deliveries are `unrevoked`. All others are asked about: whoever is not sure leaves them so.
        """


class Inspects(ABC):
    """Counts, shows and purges what waits."""

    @abstractmethod
    def depths(self, queues: Collection[str] | None = None, *, timeout: float) -> list[QueueDepth]:
        """Count the messages of each queue, by name; of all queues that exist when None.

        One that does not see what is delayed counts none as that, and as held what this connection holds; it may know
        only the queues that were used over this connection.
        """

    @abstractmethod
    def browse(self, queue: str, *, limit: int, timeout: float) -> list[Message]:
        """Show the messages that would come next, without taking them.

        Raises: Unsupported: this transport does not `browse`.
        """

    @abstractmethod
    def purge(self, queue: str, *, timeout: float) -> int:
        """Delete what waits and what is delayed, not what is held; return how many.

        One that does not see what is delayed deletes only what waits.
        """


class KeepsLetters(ABC):
    """Keeps dead and parked messages."""

    @abstractmethod
    def letters(
        self, kind: LetterKind | None = None, *, limit: int, after: str | None = None, timeout: float
    ) -> list[Letter]:
        """List letters, oldest first, beginning after the letter `after`."""

    @abstractmethod
    def replay(self, ids: Collection[str], *, timeout: float) -> int:
        """Put letters back on their queues with a delivery count of 0; return how many there were."""

    @abstractmethod
    def discard(self, ids: Collection[str], *, timeout: float) -> int:
        """Delete letters; return how many there were."""
