"""What a finished task sends on: its callbacks, the next step of its chain, its error callbacks.

The messages are built here and published with the settlement, so that a task counts as done exactly when what follows
it is on its way. Source: Celery 5's `trace` and `mark_as_failure`, as the message protocol documents them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.client.canvas.planning import NOTHING, Follow, Plan, Planner
from celeriac.model.signature import Signature
from celeriac.model.steps import Steps

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.context import Context
    from celeriac.model.message import Message
    from celeriac.model.protocol import Embed

__all__ = ["after_failure", "after_success"]

logger: logging.Logger = logging.getLogger(__name__)


def after_success(app: Celeriac, context: Context, embed: Embed, value: Any) -> Plan:
    """Plan the callbacks and the next step, each given the returned value first."""
    planner = Planner(app, context)
    for callback in embed.callbacks or ():
        _plan(planner, callback, value, NOTHING)
    if embed.chain:
        rest, step = embed.chain.split() if isinstance(embed.chain, Steps) else (embed.chain[:-1], embed.chain[-1])
        _plan(planner, step, value, Follow(chain=rest))
    return planner.plan


def _plan(planner: Planner, step: Mapping[str, Any], value: Any, follow: Follow) -> None:
    if step.get("subtask_type"):
        planner.plan.children.append(planner.run(step, (value,), follow).as_tuple())
        return
    # Most steps are tasks, and have nothing to be planned.
    onward = step
    if follow.chain or planner.reply_to:
        options = dict(step.get("options") or {})
        if follow.chain:
            options["chain"] = follow.chain
        if planner.reply_to:
            options.setdefault("reply_to", planner.reply_to)
        onward = {**step, "options": options}
    build = planner.app.publisher.build_signature
    message = build(onward, prefix_args=(value,), parent=planner.parent)
    planner.plan.messages.append(message)
    planner.plan.children.append(((message.headers["id"], None), None))


def after_failure(
    app: Celeriac,
    context: Context,
    embed: Embed,
    error: BaseException,
    traceback: str,
    *,
    call: Callable[[Callable[[], Any]], Any] = lambda function: function(),
) -> list[Message]:
    """Call or build the error callbacks.

    One that is registered here and lacks more than one argument is called, by `call`, with `(request, exception,
    traceback)`; every other is sent as a task with the id of the failed one.
    """
    messages: list[Message] = []
    for errback in embed.errbacks or ():
        try:
            task = app.tasks.get(errback.get("task", ""))
            if task is not None and _takes_details(task, errback):
                args, kwargs, _ = Signature.from_dict(errback, app).merged((context, error, traceback))
                call(partial(task.run, *args, **kwargs))
            else:
                messages.append(app.publisher.build_signature(errback, prefix_args=(context.id,), parent=context))
        except Exception:
            logger.exception("error callback failed", extra={"event": "errback_failed", "task": errback.get("task")})
    return messages


def _takes_details(task: Any, errback: Mapping[str, Any]) -> bool:
    """Whether a task is an unbound function that lacks more than one positional argument.

    What an immutable signature holds is not counted: it is called at once with just that.
    """
    if task.bind:
        return False
    missing = inspect.signature(task.run)
    if not errback.get("immutable"):
        with suppress(TypeError, ValueError):  # too many arguments, which the run will tell of
            missing = inspect.signature(
                partial(task.run, *(errback.get("args") or ()), **(errback.get("kwargs") or {}))
            )
    kinds = [parameter.kind for parameter in missing.parameters.values()]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in positional for kind in kinds) > 1
