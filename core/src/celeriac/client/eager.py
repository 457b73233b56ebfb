"""Running tasks in the caller: by the worker's own executor, on a message that goes nowhere.

Arguments and results pass through their serializers, handlers and events run, retries follow at once, links and the
next steps of a chain run after the task. There is no broker, no delay, no time limit and no acknowledgement.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from celeriac.client.context import current_context
from celeriac.client.result import AsyncResult
from celeriac.model.document import result_document
from celeriac.model.record import FAILURE, PROPAGATE_STATES, RETRY, REVOKED
from celeriac.model.request import Request
from celeriac.runtime.executor import Executor, TaskRun

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.model.message import Message
    from celeriac.model.outcome import Outcome

__all__ = ["EagerResult", "apply"]

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


class _Seen:
    """What the task's function itself gave: the exception object, not its stored form."""

    error: BaseException | None = None
    children: list[AsyncResult[Any]]

    def __init__(self) -> None:
        self.children = []


_seen: ContextVar[_Seen] = ContextVar("celeriac_eager")
_executors: WeakKeyDictionary[Celeriac, tuple[int, Executor]] = WeakKeyDictionary()


def apply(
    task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, throw: bool | None, options: dict[str, Any]
) -> EagerResult[Any]:
    """Run a task and everything that follows it; return its result.

    Raises: what the task raised, if `throw`, or by default if `task_eager_propagates`. What publishing the same call
    would raise about its arguments and options.
    """
    app = task.app
    message = app.publisher.build(task.name, args, kwargs, task=task, **options)
    result = _finish(app, message)
    parent = current_context()
    if parent is not None and options.get("add_to_parent", True):
        parent.children.append(result)
    if app.conf.task_eager_propagates if throw is None else throw:
        result.throw()
    return result


def _finish(app: Celeriac, message: Message) -> EagerResult[Any]:
    """Run a message and, in turn, its retries; then what follows the last run."""
    waiting: list[Message] = []
    while True:
        outcome, seen = _run(app, message)
        again = [each for each in outcome.followups if each.headers["id"] == message.headers["id"]]
        waiting += [each for each in outcome.followups if each not in again]
        if outcome.state != RETRY or not again:
            break
        message = again[0]
    result = _result(app, message, outcome, seen)
    # A retry with throw=False: the body went on, and its value stands; the other run happens all the same.
    for each in deque([*again, *waiting] if outcome.state != RETRY else waiting):
        followed = _finish(app, each)
        result.children.append(followed)
    return result


def _run(app: Celeriac, message: Message) -> tuple[Outcome, _Seen]:
    task = app.tasks[message.headers["task"]]
    run = TaskRun(_executor(app), task)
    run.entry = _watched(run.entry, is_async=task.is_async)
    seen = _Seen()
    token = _seen.set(seen)
    try:
        outcome = run.call(
            Request(
                key=0,
                task=task.name,
                id=message.headers["id"],
                message=message,
                queue=message.routing_key,
                deliveries=1,
                received=app.clock.monotonic(),
            )
        )
    finally:
        _seen.reset(token)
    if outcome.records and task.store_eager_result:
        app.connections.results().put(outcome.records, timeout=app.conf.result_timeout_seconds)
    return outcome, seen


def _executor(app: Celeriac) -> Executor:
    revision = app.conf.revision
    found = _executors.get(app)
    if found is None or found[0] != revision:
        found = _executors[app] = (revision, Executor(app, socket.gethostname()))
    return found[1]


def _watched(entry: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    """Wrap a task's entry: mark its run as eager, and keep the exception it raises."""

    def begin() -> _Seen:
        seen, context = _seen.get(), current_context()
        if context is not None:
            context.is_eager = True
            context.delivery_info = {**(context.delivery_info or {}), "is_eager": True}
            seen.children = context.children
        return seen

    def call(*args: Any, **kwargs: Any) -> Any:
        seen = begin()
        try:
            return entry(*args, **kwargs)
        except BaseException as error:
            seen.error = error
            raise

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        seen = begin()
        try:
            return await entry(*args, **kwargs)
        except BaseException as error:
            seen.error = error
            raise

    return call_async if is_async else call


def _result(app: Celeriac, message: Message, outcome: Outcome, seen: _Seen) -> EagerResult[Any]:
    task_id = message.headers["id"]
    record = next((each for each in outcome.records if each.id == task_id), None)
    if record is None:
        document: Mapping[str, Any] = result_document(task_id=task_id, state=outcome.state, result=None)
    else:
        # Written by this process in its own result serializer, which needs no leave to be read.
        document = app.codecs.loads(
            record.payload, record.content_type, record.content_encoding, accept=[app.conf.result_serializer]
        )
    return EagerResult(
        task_id,
        document,
        app=app,
        task_name=message.headers["task"],
        error=seen.error if outcome.state == FAILURE else None,
        children=seen.children,
    )
