"""A run that adds a member to the chord that it is a member of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from celeriac.client.canvas.planning import Follow, Planner
from celeriac.client.canvas.policies import policy
from celeriac.client.canvas.shaping import ends_in_group
from celeriac.model.join import Growth
from celeriac.model.signature import Signature, signature

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.context import Context

__all__ = ["ADDED", "add_to_chord"]

ADDED = 2**31
"""The place of members that were added: behind all others, among each other by their ids."""


def add_to_chord(app: Celeriac, context: Context, sig: Mapping[str, Any]) -> Any:
    """Plan one more member of the chord of a run, to be published with its settlement; return its result.

    Raises: ValueError: the run is no member of a chord, or what is added ends with a group.
    """
    if context.chord is None or context.group is None:
        raise ValueError("This run is not a member of a chord: only what a chord waits for can be added to it.")
    added: Signature[Any] = signature(sig, app=app).clone()
    if ends_in_group(added):
        raise ValueError("What is added to a chord has one result. Add the members of a group one by one.")
    if added.id is None:
        # A second delivery of the same run adds the same member, which counts once.
        name = f"{context.id} {context.retries} {len(context.grows)}"
        added.set(task_id=str(uuid5(NAMESPACE_OID, name)))
    planner = Planner(app, context)
    # In a chord of a Celery client it stands beside the member that adds it, as where Celery's workers add it.
    place = ADDED if "join" in context.chord else context.group_index
    follow = Follow(chord=context.chord, group_id=context.group, group_index=place)
    result = planner.run(added, (), follow)
    context.grows.append(_growth(app, context.chord, context.group, str(result.id)))
    context.followups += planner.plan.messages
    context.joins += planner.plan.joins
    context.children.append(result)  # type: ignore[arg-type]  # a task's, as what ends with a group is refused
    return result


def _growth(app: Celeriac, chord: Mapping[str, Any], group: str, member: str) -> Growth:
    if "join" in chord:
        return policy(chord["join"]).growth(group, member)
    return Growth(join=group, member=member, theirs=True, expires_seconds=app.conf.result_expires or None)
