"""Running messages here, by the worker's own executor, until nothing follows: what eager mode does instead of sending.

What a run leads to comes next, before what waited already: its retries, its links, the next step of its chain. Joins
are counted in a table of this rehearsal; a complete one runs its body.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celeriac.client.canvas.planning import JOIN_TASK, Plan
from celeriac.client.context import current_context
from celeriac.model.document import result_document
from celeriac.model.record import PENDING, READY_STATES, RETRY, SUCCESS
from celeriac.model.request import Request
from celeriac.runtime.executor import Executor, TaskRun

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.result import AsyncResult
    from celeriac.model.join import Growth, Join, Part
    from celeriac.model.message import Message
    from celeriac.model.outcome import Outcome
    from celeriac.model.record import ResultRecord

__all__ = ["Ended", "Rehearsal"]


class Ended:
    """How one task ended: its document, the exception object it raised, what it started and what followed it."""

    def __init__(self, id: str, state: str, task: str | None = None) -> None:  # noqa: A002  the field's name for it
        self.id = id
        self.state = state
        self.task = task
        self.document: Mapping[str, Any] = result_document(task_id=id, state=state, result=None)
        self.error: BaseException | None = None
        self.children: list[AsyncResult[Any]] = []
        self.followed: list[Ended] = []


class _Open:
    """One join that is open: what it still needs, and what its members gave."""

    def __init__(self, join: Join) -> None:
        self.message = join.message
        self.size, self.successes, self.failures = join.size, join.successes, join.failures
        self.given: dict[str, Part] = {}

    @property
    def complete(self) -> bool:
        succeeded = sum(part.succeeded for part in self.given.values())
        failed = len(self.given) - succeeded
        return succeeded >= self.successes or failed >= self.failures or len(self.given) >= self.size


class _Table:
    """The joins of one rehearsal."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def open(self, joins: tuple[Join, ...] | list[Join]) -> None:
        for join in joins:
            self._open.setdefault(join.id, _Open(join))

    def grow(self, growths: tuple[Growth, ...]) -> None:
        for growth in growths:
            if growth.join in self._open:
                one = self._open[growth.join]
                one.size += 1
                one.successes += growth.successes
                one.failures += growth.failures

    def give(self, parts: tuple[Part, ...]) -> list[Message]:
        """Take parts in; return the messages of the joins that are complete by them."""
        complete: list[Message] = []
        for part in parts:
            one = self._open.get(part.join)
            if one is None:
                continue
            before = one.complete
            one.given.setdefault(part.member, part)
            if not before and one.complete:
                complete.append(one.message)
        return complete

    def close(self, id_: str) -> list[Part]:
        """Return the parts of a join, by their places, and take no more."""
        return sorted(self._open.pop(id_).given.values(), key=lambda part: (part.place, part.member))


def _may_replace(old: str, new: str) -> bool:
    """Whether a state takes the place of another, by the rule of result stores."""
    return old != SUCCESS and (new in READY_STATES or old not in READY_STATES)


class _Seen:
    """What the task's function itself gave: the exception object, not its stored form."""

    error: BaseException | None = None
    children: list[AsyncResult[Any]]

    def __init__(self) -> None:
        self.children = []


_seen: ContextVar[_Seen] = ContextVar("celeriac_eager")
_executors: WeakKeyDictionary[Celeriac, tuple[int, Executor]] = WeakKeyDictionary()


class Rehearsal:
    """Runs a plan; what it stores nowhere else is in `ended`, by task id."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app
        self.ended: dict[str, Ended] = {}
        self._joins = _Table()
        self._waiting: deque[tuple[Message, Ended | None]] = deque()

    def run(self, plan: Plan) -> dict[str, Ended]:
        """Run everything; return how each task ended."""
        self._joins.open(plan.joins)
        self._waiting.extend((message, None) for message in plan.messages)
        while self._waiting:
            message, before = self._waiting.popleft()
            if message.headers["task"] == JOIN_TASK:
                outcome = _executor(self.app).join(_request(self.app, message), self._joins.close)
                self._note(outcome.records)
                self._follow(outcome, before)
            else:
                self._run(message, before)
        return self.ended

    def _run(self, message: Message, before: Ended | None) -> None:
        outcome, seen = _run(self.app, message)
        id_ = message.headers["id"]
        one = self.ended.setdefault(id_, Ended(id_, PENDING))
        if _may_replace(one.state, outcome.state):
            one.task, one.error, one.state = message.headers["task"], seen.error, outcome.state
            one.document = result_document(task_id=id_, state=outcome.state, result=None)
            one.children = [*one.children, *seen.children]
            self._note(outcome.records, own=id_)
        else:
            self._note(outcome.records)
        if before is not None and before is not one and one not in before.followed:
            before.followed.append(one)
        # A retry with throw=False: the body went on, and its value stands; the other run happens all the same.
        again = outcome.state == RETRY
        self._follow(outcome, one, again=id_ if again else None)

    def _note(self, records: tuple[ResultRecord, ...], own: str | None = None) -> None:
        for record in records:
            known = self.ended.get(record.id)
            if record.id != own and known is not None and known.state in READY_STATES:
                continue
            # Written by this process in its own result serializer, which needs no leave to be read.
            document = self.app.codecs.loads(
                record.payload, record.content_type, record.content_encoding, accept=[self.app.conf.result_serializer]
            )
            one = self.ended.setdefault(record.id, Ended(record.id, record.state))
            one.document, one.state = document, record.state
            if record.id != own:
                one.error = None  # of a run that something else has the place of

    def _follow(self, outcome: Outcome, one: Ended | None, *, again: str | None = None) -> None:
        self._joins.open(outcome.joins)
        self._joins.grow(outcome.grows)
        messages = [*outcome.followups, *self._joins.give(outcome.parts)]
        messages.sort(key=lambda message: message.headers["id"] != again)
        self._waiting.extendleft((message, one) for message in reversed(messages))


def _request(app: Celeriac, message: Message) -> Request:
    return Request(
        key=0,
        task=message.headers["task"],
        id=message.headers["id"],
        message=message,
        queue=message.routing_key,
        deliveries=1,
        received=app.clock.monotonic(),
    )


def _run(app: Celeriac, message: Message) -> tuple[Outcome, _Seen]:
    task = app.tasks[message.headers["task"]]
    run = TaskRun(_executor(app), task)
    run.joins = True  # they are counted here
    run.entry = _watched(run.entry, is_async=task.is_async)
    seen = _Seen()
    token = _seen.set(seen)
    try:
        outcome = run.call(_request(app, message))
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
