"""From a workflow to what must be published now: messages, the joins they belong to, and the results to come.

A signature is planned together with what follows it: the rest of its chain, and the join it is a member of. So

    a task         is one message, which carries what follows
    a chain        is its first step, followed by the others and by what follows the chain
    a group        with nothing to follow is its members; else it is a chord, its body what follows
    a chord        is its members, each a member of one join, and the join, whose message runs the body and what follows
                   it; a header without members is its body, given an empty list

Nothing is published here, so that a caller sends all of it in one call and a worker settles with it. The same message
that a client would send is made when a task leads to the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from celeriac.client.canvas.policies import policy
from celeriac.client.canvas.shaping import (
    Results,
    as_one,
    ends_in_group,
    flat,
    flat_group,
    freeze,
    grouped,
    handed_down,
    last_of,
    linked,
    pass_on,
    with_options,
)
from celeriac.client.canvas.workflows import chain, chord, group
from celeriac.client.groupresult import GroupResult
from celeriac.client.identity import process_id
from celeriac.client.result import AsyncResult
from celeriac.model.join import Join
from celeriac.model.message import Message
from celeriac.model.signature import Signature, signature

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.context import Context

__all__ = ["JOINS_QUEUE", "JOIN_TASK", "LIST_TASK", "Follow", "Plan", "Planner", "join_message"]

JOIN_TASK = "celeriac.join"
LIST_TASK = "celeriac.list"
"""Returns what it is given: the body of a group that something waits for."""
JOINS_QUEUE = "celeriac.joins"
"""The queue of the messages of complete joins: what only workers of Celeriac know, no other may take and drop."""

_LAST = ("chord", "group_id", "group_index", "link")
"""Options that belong to what a workflow ends with."""


SLICE = 10_000
"""How many messages a client plans before it publishes them. Smaller workflows are published whole, or not at all."""


class Follow(Struct, frozen=True, kw_only=True):
    """What comes after a signature: steps in the wire's order, the next one last, or the join that it is a part of."""

    chain: Sequence[Mapping[str, Any]] = ()
    chord: Mapping[str, Any] | None = None
    group_id: str | None = None
    group_index: int | None = None

    @property
    def waits(self) -> bool:
        """Whether something waits for the result."""
        return bool(self.chain) or self.chord is not None


class Plan(Struct):
    """What is to be published, in order, and what is to be opened before."""

    messages: list[Message] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    children: list[Any] = field(default_factory=list)
    """The results of what a run leads to, as tuples: what its own result lists."""


NOTHING = Follow()


class Planner:
    """Plans signatures of one app; `parent` is the run they are started by.

    `publish`, if given, is handed what is planned whenever there are `SLICE` messages of it, so that a workflow of any
    size takes a bounded amount of memory; the rest is left in `plan`.
    """

    def __init__(
        self, app: Celeriac, parent: Context | None = None, *, publish: Callable[[Plan], None] | None = None
    ) -> None:
        self.app = app
        self.parent = parent
        self._publish = publish
        self.reply_to: str = _reply_to(app, parent, published=publish is not None)
        """Where the results of what is planned go, with a store that sends them; else empty."""
        self.plan: Plan = Plan()

    def run(self, sig: Mapping[str, Any], args: Sequence[Any] = (), follow: Follow = NOTHING) -> Results:
        """Plan a signature, given `args` in front of its own, and what follows it; return its result to be."""
        planned = signature(sig, app=self.app).clone(args)
        own = planned.options
        if own.get("chain") or own.get("chord"):
            follow = Follow(
                chain=(*follow.chain, *(own.pop("chain", None) or ())),
                chord=own.pop("chord", None) or follow.chord,
                group_id=own.pop("group_id", None) or follow.group_id,
                group_index=own.pop("group_index", follow.group_index),
            )
        if isinstance(planned, chain):
            return self._chain(planned, planned.args, follow)
        if isinstance(planned, group):
            return self._group(planned, planned.args, follow)
        if isinstance(planned, chord):
            return self._chord(planned, planned.args, follow)
        return self._task(planned, follow)

    def _task(self, sig: Signature[Any], follow: Follow) -> AsyncResult[Any]:
        options = {**sig.options, "task_id": sig.id or self.app.new_id()}
        if self.reply_to:
            options.setdefault("reply_to", self.reply_to)
        if follow.chain:
            options["chain"] = list(follow.chain)
        if follow.chord is not None:
            options["chord"] = follow.chord
        if follow.group_id is not None:
            options.update(group_id=follow.group_id, group_index=follow.group_index)
        task = self.app.tasks.get(sig.task)
        self.plan.messages.append(
            self.app.publisher.build(sig.task, sig.args, sig.kwargs, task=task, parent=self.parent, **options)
        )
        if self._publish is not None and len(self.plan.messages) >= SLICE:
            full, self.plan = self.plan, Plan()
            self._publish(full)
        return AsyncResult(options["task_id"], app=self.app, task_name=sig.task)

    def _chain(self, sig: chain, args: tuple[Any, ...], follow: Follow) -> Results:
        steps = flat(sig)
        if not steps:
            raise ValueError("An empty chain has nothing to run. Give it steps: chain(a.s(), b.s()).")
        first, *rest = grouped(steps)
        pass_on(sig.options, first, rest)
        results = [freeze(step, self.app, self.reply_to) for step in rest]
        if rest:
            # What waits for the chain waits for its last step.
            own = rest[-1].options
            if follow.chord is not None:
                rest[-1] = self._as_one(rest[-1])
                own = last_of(rest[-1]).options
            if follow.chord is not None:
                own["chord"] = dict(follow.chord)
            if follow.group_id is not None:
                own.update(group_id=follow.group_id, group_index=follow.group_index)
            follow = Follow(chain=(*follow.chain, *reversed(rest)))
        previous = self.run(first, args, follow)
        return linked([previous, *results])

    def _group(self, sig: group, args: tuple[Any, ...], follow: Follow) -> Results:
        members = [with_options(member, handed_down(sig)) for member in flat_group(sig)]
        id_ = sig.id or self.app.new_id()
        if follow.waits and not (members and all(member.options.get("chord") for member in members)):
            return self._join(id_, members, args, None, follow, terms=sig.options.get("join"))
        # Nothing waits for it, or for each of its members: so a client of Celery's writes a group that ends a member.
        results = [
            self.run(member, args, Follow(group_id=id_, group_index=place)) for place, member in enumerate(members)
        ]
        return GroupResult(id_, results, app=self.app)

    def _chord(self, sig: chord, args: tuple[Any, ...], follow: Follow) -> Results:
        if sig.body is None:
            raise ValueError("A chord without a body has nothing to wait for. Give it one: chord(header, body).")
        options = dict(sig.options)
        terms = options.pop("join", None)
        body = with_options(sig.body, {name: options.pop(name) for name in ("task_id", *_LAST) if name in options})
        header_id = sig.header_id or self.app.new_id()
        members = flat_group(group(sig.tasks))
        return self._join(
            header_id,
            [with_options(each, options) for each in members],
            args,
            with_options(body, options),
            follow,
            terms=terms,
        )

    def _join(
        self,
        id_: str,
        members: Sequence[Signature[Any]],
        args: tuple[Any, ...],
        body: Signature[Any] | None,
        follow: Follow,
        *,
        terms: str | None,
    ) -> Results:
        """Plan members that something waits for; without a body, their list itself is what follows."""
        chosen = policy(terms)
        if body is None:
            body = self._list()
        result = freeze(body, self.app, self.reply_to)
        if not members:
            return self.run(body, ([],), follow)
        successes, failures = chosen.terms(len(members))
        followed = _followed(body, follow)
        followed["join"] = chosen.text
        message = join_message(self.app, id_, followed, parent=self.parent)
        self.plan.joins.append(
            Join(
                id=id_,
                size=len(members),
                successes=successes,
                failures=failures,
                message=message,
                expires_seconds=self.app.conf.result_expires or None,
            )
        )
        waits = _ticket(id_, chosen.text, str(message.headers["id"]))
        results = [
            self.run(member, args, Follow(chord=waits, group_id=id_, group_index=place))
            for place, member in enumerate(members)
        ]
        return linked([GroupResult(id_, results, app=self.app), result])

    def _as_one(self, sig: Signature[Any]) -> Signature[Any]:
        """Return what ends with one task, which is the member of a join."""
        if not ends_in_group(sig):
            return sig
        last = self._list()
        freeze(last, self.app, self.reply_to)
        return as_one(sig, last)

    def _list(self) -> Signature[Any]:
        return Signature(LIST_TASK, (), {}, {"queue": JOINS_QUEUE}, app=self.app)


def join_message(app: Celeriac, id_: str, body: Mapping[str, Any], **options: Any) -> Message:
    """Return what is published when a join is complete; `options` are those of any task."""
    task = app.tasks.get(JOIN_TASK)
    return app.publisher.build(
        JOIN_TASK, (id_, dict(body)), task=task, queue=JOINS_QUEUE, ignore_result=True, **options
    )


def _ticket(id_: str, join: str, message_id: str) -> dict[str, Any]:
    """Return what members of a join carry in the place of a chord's body; `join` is its policy, for our workers.

    A worker of Celery's that counts the last member publishes it, given the values, or its error callback: both become
    messages of the complete join, which one of Celeriac's workers runs.
    """
    failed = {"task": JOIN_TASK, "args": [id_], "kwargs": {}, "options": {"queue": JOINS_QUEUE}, "immutable": True}
    options = {"task_id": message_id, "queue": JOINS_QUEUE, "link_error": [{**failed, "subtask_type": None}]}
    ticket = {"task": JOIN_TASK, "args": [id_], "kwargs": {}, "options": options, "immutable": False}
    return {**ticket, "subtask_type": None, "join": join}


def _reply_to(app: Celeriac, parent: Context | None, *, published: bool) -> str:
    """Return where results go: to who publishes; those of what follows a run, to whoever waits for the run."""
    if not app.connections.replies:
        return ""
    if published or parent is None:
        return process_id()
    return parent.reply_to or ""


def _followed(body: Signature[Any], follow: Follow) -> Signature[Any]:
    """Return the body with what follows it among its options, as it travels in the header's messages."""
    options = body.options
    if follow.chain:
        options["chain"] = [*follow.chain, *(options.get("chain") or ())]
    if follow.chord is not None:
        options["chord"] = dict(follow.chord)
    if follow.group_id is not None:
        options.update(group_id=follow.group_id, group_index=follow.group_index)
    return body
