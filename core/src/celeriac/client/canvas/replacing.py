"""Replacing a run by a workflow: whoever waits for the one waits for the other and never learns of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from celeriac.client.canvas.planning import JOINS_QUEUE, LIST_TASK, Follow, Planner
from celeriac.client.canvas.shaping import ends_in_group
from celeriac.client.canvas.stamping import stamp
from celeriac.errors import Ignore
from celeriac.model.signature import Signature, signature

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.context import Context

__all__ = ["Replaced", "replace"]


class Replaced(Ignore):
    """The run is over and something else has its place; raised by `Task.replace`."""


def replace(app: Celeriac, context: Context, sig: Mapping[str, Any]) -> NoReturn:
    """Plan what takes the place of a run, to be published with its settlement.

    Raises: Replaced, always. RuntimeError: there is no run to replace.
    """
    if context.called_directly or context.id is None:
        raise RuntimeError("Only a run of a worker can be replaced. Called directly, a task returns its value.")
    successor: Signature[Any] = signature(sig, app=app).clone()
    if ends_in_group(successor):
        # What waits for one result gets one: the list.
        listed: Signature[Any] = Signature(LIST_TASK, (), {}, {"queue": JOINS_QUEUE}, app=app)
        successor = successor | listed
    if context.stamps:
        stamp(successor, None, False, context.stamps)
    for callback in context.callbacks or ():
        successor.link(signature(callback, app=app))
    for errback in context.errbacks or ():
        successor.link_error(signature(errback, app=app))
    successor.set(task_id=context.id, replaced_task_nesting=(context.replaced_task_nesting or 0) + 1)
    planner = Planner(app, context)
    planner.run(
        successor,
        (),
        Follow(
            chain=tuple(context.chain or ()),
            chord=context.chord,
            group_id=context.group,
            group_index=context.group_index,
        ),
    )
    context.followups += planner.plan.messages
    context.joins += planner.plan.joins
    raise Replaced(f"replaced by {successor.task}")
