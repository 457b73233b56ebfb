"""Running tasks in the caller: by the worker's own executor, on a message that goes nowhere.

Arguments and results pass through their serializers, handlers and events run, retries follow at once, links and the
next steps of a chain run after the task. There is no broker, no delay, no time limit and no acknowledgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from celeriac.client.canvas.planning import Plan, Planner
from celeriac.client.context import current_context
from celeriac.client.groupresult import GroupResult
from celeriac.client.rehearsal import Ended, Rehearsal
from celeriac.client.result import AsyncResult
from celeriac.model.document import result_document
from celeriac.model.record import FAILURE, PENDING, PROPAGATE_STATES, REVOKED

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.model.signature import Signature

__all__ = ["EagerResult", "apply", "apply_workflow"]

R = TypeVar("R")


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in the caller. It is always ready, and no store knows it."""

    def __init__(
        self,
        id: str,  # noqa: A002  the field's name for it
        document: Mapping[str, Any],
        *,
        app: Celeriac | None = None,
        task_name: str | None = None,
        error: BaseException | None = None,
        children: Sequence[AsyncResult[Any]] = (),
    ) -> None:
        super().__init__(id, app=app, task_name=task_name)
        self._ready = document
        self._error = error
        self._children = list(children)

    @property
    def result(self) -> Any:
        """The returned value, after its serializer, or the very exception that was raised."""
        return super().result if self._error is None else self._error

    info = result

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """The results of the tasks it called, and of its links."""
        return self._children

    def ready(self) -> bool:
        """Whether it has ended: always."""
        return True

    def maybe_throw(self, propagate: bool = True) -> Any:
        """Raise what the task raised, with its own traceback; else return its value."""
        if self._error is None:
            return super().maybe_throw(propagate)
        if propagate and self.state in PROPAGATE_STATES:
            raise self._error
        return self._error

    def forget(self) -> None:
        """Do nothing: no store knows it."""

    def revoke(self, *, terminate: bool = False, signal: str | None = None) -> None:  # noqa: ARG002  the parameters of AsyncResult
        """Call it revoked, for tests of what follows; it has run."""
        self._ready = {**(self._ready or {}), "status": REVOKED}

    def __reduce__(self) -> tuple[Any, ...]:
        return EagerResult, (self.id, dict(self._ready or {}))


def apply(
    task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, throw: bool | None, options: dict[str, Any]
) -> EagerResult[Any]:
    """Run a task and everything that follows it; return its result.

    Raises: what the task raised, if `throw`, or by default if `task_eager_propagates`. What publishing the same call
    would raise about its arguments and options.
    """
    app = task.app
    message = app.publisher.build(task.name, args, kwargs, task=task, **options)
    result = _results(Rehearsal(app).run(Plan([message])), app)[message.headers["id"]]
    _give(app, result, throw, add_to_parent=options.get("add_to_parent", True))
    return result


def apply_workflow(app: Celeriac, sig: Signature[Any]) -> Any:
    """Run a workflow here, with everything that follows it; return its result, or the results of its last group."""
    options = dict(sig.options)
    throw = options.pop("throw", None)
    planner = Planner(app, current_context())
    expected = planner.run(sig.replace(options=options))
    result = _filled(expected, _results(Rehearsal(app).run(planner.plan), app), app)
    _give(app, result, throw, add_to_parent=True)
    return result


def _give(app: Celeriac, result: Any, throw: bool | None, *, add_to_parent: bool) -> None:
    parent = current_context()
    if parent is not None and add_to_parent:
        parent.children.append(result)
    if app.conf.task_eager_propagates if throw is None else throw:
        for each in result if isinstance(result, GroupResult) else [result]:
            each.throw()


def _filled(expected: Any, results: Mapping[str, EagerResult[Any]], app: Celeriac) -> Any:
    """Return a result that was to be as what it is, with those before it."""
    if isinstance(expected, GroupResult):
        filled: Any = GroupResult(expected.id, [_filled(each, results, app) for each in expected.results], app=app)
    elif expected.id in results:
        filled = results[expected.id]
    else:
        filled = EagerResult(expected.id, result_document(task_id=expected.id, state=PENDING, result=None), app=app)
    filled.parent = None if expected.parent is None else _filled(expected.parent, results, app)
    return filled


def _results(ended: Mapping[str, Ended], app: Celeriac) -> dict[str, EagerResult[Any]]:
    """Return the results of all tasks that ended, each with those that it started and that followed it."""
    results = {
        id_: EagerResult[Any](
            id_, one.document, app=app, task_name=one.task, error=one.error if one.state == FAILURE else None
        )
        for id_, one in ended.items()
    }
    for id_, one in ended.items():
        results[id_].children.extend([*one.children, *(results[each.id] for each in one.followed)])
    return results
