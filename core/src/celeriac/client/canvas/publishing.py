"""Sending a workflow: its joins are opened, then everything that can begin is published in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.client.canvas import composing, tasks
from celeriac.client.canvas.planning import Plan, Planner
from celeriac.client.context import current_context
from celeriac.errors import Unsupported
from celeriac.kernel import plugins
from celeriac.spi.results import Joins

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.model.signature import Signature

__all__ = ["publish_workflow"]

BATCH = 1000
"""Messages of one call to the broker."""

_PARTS_OF_EVERY_APP = (composing, tasks)
"""Imported for what they do: `|` between signatures, and the tasks that workflows lead to."""


def publish_workflow(app: Celeriac, sig: Signature[Any]) -> Any:
    """Publish what of a workflow can begin now, and return its result.

    Raises: Unsupported: it has to wait for a group, and the result store counts no members of groups.
    """
    parent = current_context()

    def publish(plan: Plan) -> None:
        if plan.joins:
            _joins_of(app).open_joins(plan.joins, timeout=app.conf.result_timeout_seconds)
        for start in range(0, len(plan.messages), BATCH):
            app.publisher.send(plan.messages[start : start + BATCH])

    planner = Planner(app, parent, publish=publish)
    result = planner.run(sig)
    publish(planner.plan)
    if parent is not None:
        parent.children.append(result)  # type: ignore[arg-type]  # a group counts as one
    return result


def _joins_of(app: Celeriac) -> Joins:
    results = app.connections.results()
    if isinstance(results, Joins):
        return results
    able = [
        info.name
        for info in plugins.installed("results")
        if info.declaration is not None and info.declaration.capabilities.joins
    ]
    raise Unsupported("waiting for a group (a chord)", f"The result store {results.address.scheme}", able)
