"""The invariant that everything rests on: what was accepted is settled, or it is in exactly one place.

A Hypothesis state machine publishes, takes, settles, lets leases lapse and replays letters in any order, keeps its
own books, and compares them with the transport's after every step.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from celeriac.model.message import Delivery
from celeriac.model.outcome import Action, Verdict
from celeriac.spi.transport import Inspects, KeepsLetters, Leases, Transport, TransportCapabilities
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import LATER, Q, TransportBench, TransportTests, as_a, message

__all__ = ["Accounting"]

HOLDERS = ("a", "b")
_SETTINGS = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class Books(RuleBasedStateMachine):
    """Where each message should be, by its body, and how often it has been taken."""

    module: Any

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self.bench: TransportBench = self._stack.enter_context(TransportBench(self.module))
        self.connections: dict[str, Transport] = {
            holder: self.bench.connect(holder, **self.bench.harness.steady) for holder in HOLDERS
        }
        self.any: Transport = self.connections["a"]
        self.can: TransportCapabilities = self.any.capabilities
        self.accepted: int = 0
        self.deliveries: dict[str, int] = {}
        self.waiting: set[str] = set()
        self.delayed: set[str] = set()
        self.held: dict[str, dict[str, Delivery]] = {holder: {} for holder in HOLDERS}
        self.stale: list[tuple[str, Delivery]] = []
        self.aside: dict[str, set[str]] = {"dead": set(), "parked": set()}
        self.settled: int = 0

    def teardown(self) -> None:
        """Close everything."""
        self._stack.close()

    @rule(count=st.integers(1, 4), priority=st.integers(0, 9))
    def publish(self, count: int, priority: int) -> None:
        """Publish a batch."""
        self._publish(count, self.waiting, priority=priority if self.can.priorities else 0)

    @precondition(lambda self: self.can.delays and self.bench.virtual)
    @rule(count=st.integers(1, 3))
    def publish_delayed(self, count: int) -> None:
        """Publish a batch that is not due yet."""
        self._publish(count, self.delayed, due=self.bench.clock.time() + LATER)

    @rule(holder=st.sampled_from(HOLDERS), limit=st.integers(1, 4))
    def take(self, holder: str, limit: int) -> None:
        """Take some; each must be one that waits, with the right delivery count."""
        taken = self.connections[holder].receive([Q], limit=limit, timeout=0.0)
        assert len(taken) <= limit
        for delivery in taken:
            text = delivery.message.body.decode()
            assert text in self.waiting, f"message {text} was delivered, but it is not waiting"
            self.waiting.remove(text)
            self.held[holder][text] = delivery
            self.deliveries[text] += 1
            assert delivery.deliveries == self.deliveries[text]
        if self.bench.virtual and not taken:
            assert not self.waiting, f"nothing was delivered although {sorted(self.waiting)} wait"

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data(), counted=st.booleans())
    def settle(self, data: st.DataObject, counted: bool) -> None:
        """Carry out a verdict on each of some held messages, in one call."""
        holder = data.draw(st.sampled_from([holder for holder in HOLDERS if self.held[holder]]))
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.held[holder])), min_size=1, unique=True))
        actions = data.draw(st.lists(st.sampled_from(Action), min_size=len(chosen), max_size=len(chosen)))
        verdicts = [
            Verdict(delivery=self.held[holder][text], action=action, reason="test", counted=counted)
            for text, action in zip(chosen, actions, strict=True)
        ]
        assert self.connections[holder].settle(verdicts, timeout=TIMEOUT) == []
        for text, action in zip(chosen, actions, strict=True):
            self.stale.append((holder, self.held[holder].pop(text)))
            self._place(text, action, counted)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), action=st.sampled_from(Action))
    def settle_too_late(self, data: st.DataObject, action: Action) -> None:
        """Try a verdict on what is no longer held: it is refused, and the books do not change."""
        holder, delivery = data.draw(st.sampled_from(self.stale))
        late = Verdict(delivery=delivery, action=action, reason="late")
        assert self.connections[holder].settle([late], timeout=TIMEOUT) == [late]

    @precondition(lambda self: self.can.leases and self.bench.virtual)
    @rule(survivor=st.sampled_from(HOLDERS))
    def lapse(self, survivor: str) -> None:
        """Let the lease of one holder lapse while the other's is renewed."""
        for _ in range(3):
            self._renew(survivor)
            self.bench.pass_time(self.bench.lease_seconds(self.any) * 0.4)
        (lost,) = set(HOLDERS) - {survivor}
        had = self.held[lost]
        kept = self._renew(lost)
        assert not (had and kept), "the lease lapsed, but its holder was not told"
        self.waiting.update(had)
        self.stale += [(lost, delivery) for delivery in had.values()]
        self.held[lost] = {}
        self._become_due()

    @precondition(lambda self: self.bench.virtual)
    @rule()
    def pass_time(self) -> None:
        """Let delayed messages become due."""
        for holder in HOLDERS if self.can.leases else ():
            self._renew(holder)
        self.bench.pass_time(LATER)
        self._become_due()

    @precondition(lambda self: self.can.letters and any(self.aside.values()))
    @rule(replay=st.booleans(), kind=st.sampled_from(["dead", "parked"]))
    def open_letters(self, replay: bool, kind: Any) -> None:
        """Replay or discard what was put aside."""
        letters = as_a(KeepsLetters, self.any)
        found = letters.letters(kind, limit=2, timeout=TIMEOUT)
        ids, texts = [letter.id for letter in found], {letter.message.body.decode() for letter in found}
        assert texts <= self.aside[kind]
        done = (letters.replay if replay else letters.discard)(ids, timeout=TIMEOUT)
        assert done == len(ids)
        self.aside[kind] -= texts
        if replay:
            self.waiting |= texts
            self.deliveries.update(dict.fromkeys(texts, 0))
        else:
            self.settled += len(texts)

    @precondition(lambda self: self.can.inspects and self.can.sees_delayed)
    @rule()
    def purge(self) -> None:
        """Delete what waits and what is delayed."""
        assert as_a(Inspects, self.any).purge(Q, timeout=TIMEOUT) == len(self.waiting) + len(self.delayed)
        self.settled += len(self.waiting) + len(self.delayed)
        self.waiting.clear()
        self.delayed.clear()

    @invariant()
    def the_books_agree(self) -> None:
        """Compare the transport's own counts with the books."""
        held = sum(map(len, self.held.values()))
        aside = sum(map(len, self.aside.values()))
        total = self.settled + len(self.waiting) + len(self.delayed) + held + aside
        assert self.accepted == total
        if self.can.inspects and self.can.sees_delayed and self.accepted:
            depth = self.bench.depth(self.any)
            assert (depth.waiting, depth.delayed, depth.held) == (len(self.waiting), len(self.delayed), held)
        if self.can.letters:
            letters = as_a(KeepsLetters, self.any).letters(limit=1000, timeout=TIMEOUT)
            assert sorted(letter.message.body.decode() for letter in letters) == sorted(
                self.aside["dead"] | self.aside["parked"]
            )

    def _publish(self, count: int, place: set[str], **fields: Any) -> None:
        texts = [str(self.accepted + number) for number in range(count)]
        self.any.publish([message(text, **fields) for text in texts], timeout=TIMEOUT)
        self.accepted += count
        place.update(texts)
        self.deliveries.update(dict.fromkeys(texts, 0))

    def _place(self, text: str, action: Action, counted: bool) -> None:
        if action is Action.ACK:
            self.settled += 1
        elif action is Action.RELEASE:
            self.deliveries[text] -= not counted
            self.waiting.add(text)
        else:
            self.aside["dead" if action is Action.DEAD else "parked"].add(text)

    def _renew(self, holder: str) -> bool:
        return as_a(Leases, self.connections[holder]).renew(timeout=TIMEOUT)

    def _become_due(self) -> None:
        self.waiting |= self.delayed
        self.delayed.clear()


class Accounting(TransportTests):
    """Accepted = settled + waiting + delayed + held + dead + parked."""

    effort: ClassVar[settings] = _SETTINGS
    """How hard Hypothesis tries; raise `max_examples` to look longer."""

    def test_every_accepted_message_is_settled_or_in_exactly_one_place(self, bench: TransportBench) -> None:
        machine = type("Books", (Books,), {"module": bench.module})

        run_state_machine_as_test(machine, settings=self.effort)
