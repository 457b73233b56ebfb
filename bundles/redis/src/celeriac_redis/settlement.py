"""Carrying out verdicts: one script for a whole batch, each verdict with its records and follow-ups.

What makes it exact when an answer is lost:

1. Every call has a slot of its own and a number in it; the script notes the number and its answer under the slot's key.
   A call with a number that was noted does nothing.
2. When no answer came, this module remembers which verdicts were in the call. If the caller settles one of them again,
   over whatever connection, `resolve` asks for the answer; if there is none, it notes that the call is void, so that a
   request which is still under way has no effect when it arrives.
3. So a repeated verdict is answered as the first was, and its follow-ups are published once. What an answer that was
   lost says of taken follow-ups is not asked for: `retain` hands them back, as those of a lost take.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Final

from msgspec import Struct, field

from celeriac.model.message import Delivery, Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import ResultRecord
from celeriac_redis.chords import chord_giving
from celeriac_redis.envelope import open_envelope, seal
from celeriac_redis.joins import closing, giving, growing, opening
from celeriac_redis.keys import Keys
from celeriac_redis.leases import Leases
from celeriac_redis.link import Link
from celeriac_redis.publication import Publisher, Targets, microseconds, waiting_until
from celeriac_redis.records import Row
from celeriac_redis.routes import Route, Routes
from celeriac_redis.scripts import RESOLVE, SETTLE
from celeriac_redis.wire import Argument

__all__ = ["Settler", "Taking"]

_MOST_VERDICTS: Final = 500
_MOST_BYTES: Final = 4 << 20
"""What one call carries at the most: nobody else is served meanwhile."""
_REMEMBERED_MILLISECONDS: Final = 3_600_000
_MOST_LOST: Final = 10_000

Rows = Callable[[ResultRecord], Row]
Resolved = dict[tuple[str, str], Route]


class Taking(Struct, frozen=True):
    """Which follow-ups a settlement is to take: up to `limit`, on queues that this worker takes from."""

    queues: tuple[str, ...]
    limit: int
    nonce: str
    revoked: str
    """The key of the set of revoked ids. While it exists nothing is taken: somebody would have to ask it."""


class _Slot(Struct):
    """Where the answers to calls are noted, one at a time."""

    name: str
    sequence: int = 0


class _Lost(Struct, frozen=True):
    """Where to learn what became of a verdict: the call it was in, and its number there."""

    verdict: Verdict
    answer: bytes
    sequence: int
    index: int


_lost: dict[tuple[str, str], OrderedDict[int, _Lost]] = {}
"""By store and holder: verdicts whose answer was lost, by identity. A new connection of the holder finds them here."""
_lock = threading.Lock()


class _Call(Struct):
    """One call of the script while it is put together."""

    targets: Targets
    slot: _Slot
    verdicts: list[Verdict] = field(default_factory=list)
    queues: dict[str, int] = field(default_factory=dict)
    arguments: list[Argument] = field(default_factory=list)
    size: int = 0
    taking: Taking | None = None
    offered: list[tuple[str, str, bytes]] = field(default_factory=list)
    """The follow-ups that may be taken: queue, step, envelope."""

    @property
    def full(self) -> bool:
        return len(self.verdicts) >= _MOST_VERDICTS or self.size >= _MOST_BYTES


class Settler:
    """Settles for one holder over one link."""

    def __init__(
        self, link: Link, keys: Keys, *, leases: Leases, routes: Routes, publisher: Publisher, rows: Rows, label: str
    ) -> None:
        self.rows = rows
        """How a record becomes arguments of the script."""
        self.join_prefix: str = ""
        """What the keys of joins begin with."""
        self._link = link
        self._keys = keys
        self._leases = leases
        self._routes = routes
        self._publisher = publisher
        self._memory = (label, leases.holder)
        self._slots: list[_Slot] = []
        self._made = 0

    def settle(
        self, verdicts: Sequence[Verdict], now: float, timeout: float, taking: Taking | None = None
    ) -> tuple[list[Verdict], list[Delivery]]:
        """Settle; return what was refused, and the follow-ups that were taken.

        Raises: EncodeError, Unroutable: a record or a follow-up cannot be written; nothing took effect.
        """
        end = monotonic() + timeout
        refused: list[Verdict] = []
        if self._memory in _lost:
            verdicts, refused = self._resolve(verdicts, end)
        calls = self._calls(verdicts, now, end, taking)
        if not calls:
            return refused, []
        try:
            ready = [self._ready(call) for call in calls]
            answers = self._link.scripts(SETTLE, ready, timeout=end - monotonic())
        except BaseException:
            self._remember(calls)
            raise
        for call, answer in zip(calls, answers, strict=True):
            refused += _numbered(call.verdicts, answer.partition(b";")[0])
        self._slots += [call.slot for call in calls]
        return refused, _taken(calls[0], answers[0])

    # -- putting calls together ----------------------------------------------------------------------------

    def _calls(self, verdicts: Sequence[Verdict], now: float, end: float, taking: Taking | None) -> list[_Call]:
        messages = [message for verdict in verdicts for message in verdict.followups]
        messages += [join.message for verdict in verdicts for join in verdict.joins]
        messages += [part.message for verdict in verdicts for part in verdict.parts if part.message is not None]
        routes: Resolved = {}
        if messages:
            if any(message.exchange for message in messages):
                routes = self._routes.resolve(messages, end - monotonic())
            queues = {queue for message in messages for queue in _route(message, routes).queues}
            self._publisher.announce(queues, end - monotonic())
        done: list[_Call] = []
        open_calls: dict[str, _Call] = {}
        for verdict in verdicts:
            group = verdict.delivery.queue if self._link.is_cluster and verdict.delivery is not None else ""
            call = open_calls.get(group)
            if call is None or call.full:
                call = open_calls[group] = _Call(Targets(self._keys), self._slot(), taking=None if done else taking)
                done.append(call)
            call.verdicts.append(verdict)
            self._add(call, verdict, now, routes)
        return done

    def _add(self, call: _Call, verdict: Verdict, now: float, routes: Resolved) -> None:
        arguments, delivery = call.arguments, verdict.delivery
        if delivery is None:
            arguments.append("n")
        else:
            queue = call.queues.get(delivery.queue)
            if queue is None:
                queue = call.queues[delivery.queue] = len(call.queues) + 1
            if verdict.action is Action.ACK:
                arguments += ("a", queue, delivery.tag)
            else:
                arguments += _action(verdict, queue, delivery.tag)
        joins = bool(verdict.parts or verdict.joins or verdict.grows or verdict.closes)
        arguments.append(f"{len(verdict.records)}+" if joins else len(verdict.records))
        for record in verdict.records:
            row = self.rows(record)
            arguments += row
            call.size += len(row.payload)
        triples = list(self._triples(call, verdict.followups, now, routes)) if verdict.followups else ()
        arguments.append(len(triples))
        for triple in triples:
            arguments += triple
            call.size += len(triple[2])
        if joins:
            self._add_joins(call, verdict, now)

    def _add_joins(self, call: _Call, verdict: Verdict, now: float) -> None:
        prefix, alone = self.join_prefix, self._link.is_cluster
        own = [giving(part, prefix) for part in verdict.parts if part.message is None]
        theirs = [chord_giving(part, part.message, prefix, now) for part in verdict.parts if part.message is not None]
        call.arguments += (len(verdict.joins), len(verdict.grows), len(own), len(theirs), len(verdict.closes))
        for join in verdict.joins:
            row = opening(join, prefix, now, alone=alone)
            call.arguments += row
            call.size += len(row[7])
        for growth in verdict.grows:
            call.arguments += growing(growth, prefix)
        for given in (*own, *theirs):
            call.arguments += given
        call.size += sum(len(part.payload) for part in verdict.parts)
        for id_ in verdict.closes:
            call.arguments += closing(id_, prefix, alone=alone)

    def _triples(
        self, call: _Call, messages: Iterable[Message], now: float, routes: Resolved
    ) -> Iterable[tuple[int, Argument, bytes]]:
        own = call.taking.queues if call.taking is not None else ()
        for message in messages:
            raw, route = seal(message, now), _route(message, routes)
            due, step = waiting_until(message), self._keys.step(message.priority)
            for queue in route.queues:
                offered = due == "" and message.due is None and queue in own
                if offered:
                    call.offered.append((queue, step, raw))
                yield call.targets.number(queue, step), "!" if offered else due, raw
            if route.channel is not None:
                yield 0, route.channel, raw

    def _ready(self, call: _Call) -> tuple[list[bytes], list[Argument]]:
        targets = call.targets
        queues = [self._keys.queue(name) for name in call.queues]
        keys = [self._answer(call), *[queue.main for queue in queues], *targets.keys]
        taking: list[Argument] = [0]
        if call.taking is not None and call.offered:
            own = call.taking
            taking = [5, self._leases.connection, self._leases.microseconds, own.nonce, own.limit, own.revoked]
            keys += [key for name in own.queues for key in self._keys.queue(name).lists]
        arguments: list[Argument] = [
            self._leases.holder,
            call.slot.sequence,
            len(queues),
            len(targets.keys),
            _REMEMBERED_MILLISECONDS,
            self._keys.lists,
            *taking,
            *[queue.base for queue in queues],
            *targets.bases,
            *targets.steps,
            *call.arguments,
        ]
        return keys, arguments

    def _answer(self, call: _Call) -> bytes:
        return self._keys.answer(call.slot.name, next(iter(call.queues), None))

    def _slot(self) -> _Slot:
        """Return a slot that no other call uses; one whose answer was lost never comes back."""
        with _lock:
            if self._slots:
                slot = self._slots.pop()
            else:
                self._made += 1
                slot = _Slot(f"{self._leases.connection}-{self._made}")
        slot.sequence += 1
        return slot

    # -- lost answers --------------------------------------------------------------------------------------

    def _remember(self, calls: Iterable[_Call]) -> None:
        with _lock:
            memory = _lost.setdefault(self._memory, OrderedDict())
            for call in calls:
                answer = self._answer(call)
                for index, verdict in enumerate(call.verdicts):
                    memory[id(verdict)] = _Lost(verdict, answer, call.slot.sequence, index)
            while len(memory) > _MOST_LOST:
                memory.popitem(last=False)

    def _resolve(self, verdicts: Sequence[Verdict], end: float) -> tuple[list[Verdict], list[Verdict]]:
        """Return those of the verdicts that have still to be settled, and those that an earlier call refused."""
        with _lock:
            memory = _lost.get(self._memory, OrderedDict())
            known = {id(verdict): memory[id(verdict)] for verdict in verdicts if id(verdict) in memory}
        answers: dict[tuple[bytes, int], set[str] | None] = {}
        for lost in known.values():
            call = (lost.answer, lost.sequence)
            if call not in answers:
                arguments = (lost.sequence, _REMEMBERED_MILLISECONDS)
                said = self._link.script(RESOLVE, [lost.answer], arguments, timeout=end - monotonic())
                answers[call] = None if said is None else set(said.decode().partition(";")[0].split(","))
        left: list[Verdict] = []
        refused: list[Verdict] = []
        for verdict in verdicts:
            found = known.get(id(verdict))
            numbers = answers[found.answer, found.sequence] if found is not None else None
            if found is None or numbers is None:
                left.append(verdict)
            elif str(found.index) in numbers:
                refused.append(verdict)
        with _lock:
            for identity in known:
                memory.pop(identity, None)
            if not memory:
                _lost.pop(self._memory, None)
        return left, refused


def _route(message: Message, routes: Resolved) -> Route:
    return routes[message.exchange, message.routing_key] if message.exchange else Route((message.routing_key,))


def _action(verdict: Verdict, queue: int, tag: Any) -> tuple[Argument, ...]:
    if verdict.action is Action.DEAD:
        return ("d", queue, tag, verdict.reason)
    if verdict.action is Action.PARK:
        return ("p", queue, tag, verdict.reason)
    name = "r" if verdict.counted else "u"
    if verdict.delay > 0:
        return (name.upper(), queue, tag, microseconds(verdict.delay))
    return (name, queue, tag)


def _numbered(verdicts: Sequence[Verdict], answer: bytes) -> list[Verdict]:
    """Return the verdicts whose numbers the script named."""
    return [verdicts[int(number)] for number in answer.split(b",")] if answer else []


def _taken(call: _Call, answer: bytes) -> list[Delivery]:
    """Return the follow-ups that the script has taken, as a take would have brought them."""
    _, _, said = answer.decode().partition(";")
    if not said or call.taking is None:
        return []
    stamp, _, numbers = said.partition(";")
    found: list[Delivery] = []
    for place, number in enumerate(numbers.split(",")):
        queue, step, raw = call.offered[int(number)]
        tag = f"{stamp}{place:04d}{step}.{call.taking.nonce}"
        message, _ = open_envelope(raw, queue)
        found.append(Delivery(message=message, queue=queue, tag=tag, deliveries=1, unrevoked=True))
    return found
