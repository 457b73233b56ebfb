"""What a workflow is once nothing in it can be written in two ways, and with all its ids fixed.

Chains in chains and groups in groups are resolved, a group that a step follows is a chord. Planning and `freeze` both
work on this form, so that a workflow has the same results before and after it is published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from celeriac.client.canvas.workflows import chain, chord, group
from celeriac.client.groupresult import GroupResult
from celeriac.client.result import AsyncResult
from celeriac.model.signature import Signature
from celeriac.model.wireform import as_list

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = [
    "Results",
    "as_one",
    "ends_in_group",
    "flat",
    "flat_group",
    "freeze",
    "grouped",
    "handed_down",
    "last_of",
    "linked",
    "pass_on",
    "with_options",
]

Results = AsyncResult[Any] | GroupResult[Any]

_LAST = ("task_id", "chord", "group_id", "group_index")
"""Options of a chain that belong to its last step."""


def flat(sig: chain) -> list[Signature[Any]]:
    """Return the steps of a chain, chains in it resolved, groups of one unrolled."""
    found: list[Signature[Any]] = []
    for step in sig.unchained():
        single = step
        if isinstance(step, group) and len(step.tasks) == 1:
            single = with_options(step.tasks[0], handed_down(step))
            if step.id is not None:
                single.options.setdefault("task_id", step.id)
        found += flat(single) if isinstance(single, chain) else [single]
    return found


def grouped(steps: Sequence[Signature[Any]]) -> list[Signature[Any]]:
    """Make each group that a step follows a chord with that step as its body, also where it ends a chord."""
    found: list[Signature[Any]] = []
    for step in reversed(steps):
        if isinstance(step, group) and found:
            found[0] = chord(step, found[0])
        elif isinstance(step, chord) and found and ends_in_group(step):
            found[0] = step.extended(found[0])
        else:
            found.insert(0, step)
    return found


def flat_group(sig: group) -> list[Signature[Any]]:
    """Return the members of a group, groups among them resolved, in order."""
    found: list[Signature[Any]] = []
    for member in sig.tasks:
        if isinstance(member, group):
            found += [with_options(each, handed_down(member)) for each in flat_group(member)]
        else:
            found.append(member)
    return found


def ends_in_group(sig: Signature[Any]) -> bool:
    """Whether what a signature ends with are the members of a group, and not one task."""
    if isinstance(sig, chord):
        return sig.body is not None and ends_in_group(sig.body)
    if not isinstance(sig, chain):
        return isinstance(sig, group)
    steps = flat(sig)
    return bool(steps) and ends_in_group(steps[-1])


def as_one(sig: Signature[Any], last: Signature[Any]) -> Signature[Any]:
    """Return a copy that ends with one task, as it does, or with `last`: the body of the group that it ends with.

    For what counts as one member of a join. Celery's workers would count each member of the group.
    """
    if not ends_in_group(sig):
        return sig
    copied = sig.clone()
    if isinstance(copied, chain):
        steps = flat(copied)
        copied["kwargs"] = {"tasks": [*steps[:-1], as_one(steps[-1], last)]}
        return copied
    if isinstance(copied, chord) and copied.body is not None:
        copied.body = as_one(copied.body, last)
        return copied
    options = handed_down(copied) if isinstance(copied, group) else {}
    header = group([with_options(member, options) for member in copied["kwargs"]["tasks"]])
    header.options.update(task_id=copied.id)
    joined = chord(header, last, **({"join": copied.options["join"]} if "join" in copied.options else {}))
    joined["kwargs"]["header"] = header
    return joined


def last_of(sig: Signature[Any]) -> Signature[Any]:
    """Return the task, or group, that a frozen signature ends with: there Celery's workers look for what waits."""
    if isinstance(sig, chord) and sig.body is not None:
        return last_of(sig.body)
    return last_of(sig.tasks[-1]) if isinstance(sig, chain) and sig.tasks else sig


def with_options(sig: Signature[Any], options: Mapping[str, Any]) -> Signature[Any]:
    """Return a copy with options of the workflow it is in, its own going first; callbacks are added to its own."""
    copied = sig.clone()
    for name, value in options.items():
        if name == "link":
            for callback in as_list(value):
                copied.link(callback)
        elif name == "link_error":
            for errback in as_list(value):
                copied.link_error(errback)
        else:
            copied.options.setdefault(name, value)
    return copied


def handed_down(sig: group) -> dict[str, Any]:
    """Return the options of a group that are those of its members: all but its id, and when it is done."""
    return {name: value for name, value in sig.options.items() if name not in ("task_id", "join")}


def pass_on(options: Mapping[str, Any], first: Signature[Any], rest: Sequence[Signature[Any]]) -> None:
    """Give the options of a chain to its steps: the id and what waits to the last, all others to the first.

    `link` and `link_error` are with the steps already (`chain.unchained`).
    """
    last = rest[-1] if rest else first
    for name, value in options.items():
        if name not in ("link", "link_error"):
            (last if name in _LAST else first).options.setdefault(name, value)


def freeze(sig: Signature[Any], app: Celeriac, reply_to: str = "") -> Results:
    """Fix the ids of everything in a signature, in place, and return its result, with those before it as parents.

    `reply_to` is where the results of its tasks are to go, if anywhere in particular.
    """
    if isinstance(sig, chain) and sig.tasks:
        steps = grouped(flat(sig))
        pass_on(sig.options, steps[0], steps[1:])
        sig["options"] = {}
        sig["kwargs"] = {"tasks": steps}
        return linked([freeze(step, app, reply_to) for step in steps])
    if isinstance(sig, chord) and sig.body is not None:
        if sig.id is not None:
            sig.body.options.setdefault("task_id", sig.options.pop("task_id"))
        header = sig.frozen_header(app.new_id())
        return linked([freeze(header, app, reply_to), freeze(sig.body, app, reply_to)])
    id_ = cast(str, sig.options.setdefault("task_id", app.new_id()))
    if isinstance(sig, group):
        members = flat_group(sig)
        sig["kwargs"] = {"tasks": members}
        return GroupResult(id_, [freeze(each, app, reply_to) for each in members], app=app)
    if reply_to:
        sig.options.setdefault("reply_to", reply_to)
    return AsyncResult(id_, app=app, task_name=sig.task)


def linked(results: Sequence[Results]) -> Results:
    """Make each result the parent of what the next one begins with; return the last."""
    for before, after in pairwise(results):
        first = after
        while first.parent is not None:
            first = first.parent
        first.parent = before
    return results[-1]
