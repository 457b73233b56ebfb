"""Run one request to its end: decode, call, and turn whatever happens into an `Outcome`.

1. Decode and check the body; one that cannot be read is a dead letter and a recorded failure.
2. Push the request's context; `task_prerun`, `before_start`.
3. Call the task. This is all in which the two ways differ: `execute` runs an `async def` task to its end on a loop of
   the thread's own, `aexecute` awaits it on the loop that runs, beside thousands of others.
4. Build the follow-ups (callbacks, the next step of the chain) and the record, so that both settle as one.
5. Handlers and events, pop the context.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from celeriac import events
from celeriac.client.context import Context, pop, push
from celeriac.errors import Ignore, MessageError, Reject, Retry
from celeriac.model.document import safe_repr
from celeriac.model.outcome import Action, Outcome
from celeriac.model.protocol import TaskHeaders, check_body, check_headers
from celeriac.model.record import FAILURE, IGNORED, REJECTED, RETRY, SUCCESS
from celeriac.model.request import Request
from celeriac.runtime.coroutines import CoroutineRunner
from celeriac.runtime.failures import Failures
from celeriac.runtime.followups import after_failure, after_success
from celeriac.runtime.recording import Recorder

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.model.message import Message
    from celeriac.model.record import ResultRecord
    from celeriac.spi.pool import Rebuild

__all__ = ["Executor", "TaskRun", "rebuilt"]

logger: logging.Logger = logging.getLogger(__name__)


class Executor:
    """Runs requests of an app's tasks; everything that does not change from task to task is looked up here, once."""

    def __init__(self, app: Celeriac, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self.recorder: Recorder = Recorder(app, hostname)
        self.coroutines: CoroutineRunner = CoroutineRunner()
        self.failures: Failures = Failures(app, self.recorder, hostname)
        self._runs = {name: TaskRun(self, task) for name, task in app.tasks.items()}

    def execute(self, request: Request) -> Outcome:
        """Run one request. Never raises an Exception: what goes wrong is in the outcome."""
        try:
            return self._runs[request.task](request)
        except Exception as error:
            logger.exception("executor failed", extra={"event": "internal_error", "task": request.task})
            return self.failed(request, error)

    def is_async(self, request: Request) -> bool:
        """Whether a request is of an `async def` task, which `aexecute` can run."""
        run = self._runs.get(request.task)
        return run is not None and run.is_async

    async def aexecute(self, request: Request) -> Outcome:
        """Run one request of an `async def` task on the running loop, in the asyncio task it is awaited in.

        Never raises an Exception. Raises: CancelledError: somebody cancelled that asyncio task; there is no outcome.
        """
        try:
            return await self._runs[request.task].acall(request)
        except Exception as error:
            logger.exception("executor failed", extra={"event": "internal_error", "task": request.task})
            return self.failed(request, error)

    def failed(self, request: Request, error: BaseException) -> Outcome:
        """Make the outcome of a run that brought none of its own."""
        return self.failures.outcome(request, error)

    def close(self) -> None:
        """Close the loops of async tasks."""
        self.coroutines.close()
        self.failures.close()


class _Job(Struct):
    """One run under way."""

    request: Request
    headers: TaskHeaders
    context: Context
    start: float


class TaskRun:
    """One task, bound for running: everything that is the same for each of its runs is looked up once."""

    def __init__(self, executor: Executor, task: Task[..., Any]) -> None:
        self.app: Celeriac = executor.app
        self.task = task
        self.entry: Callable[..., Any] = task.entry
        self.is_async: bool = task.is_async
        self.hostname: str = executor.hostname
        self.recorder: Recorder = executor.recorder
        self.coroutines: CoroutineRunner = executor.coroutines
        self.loads: Callable[..., Any] = executor.app.codecs.loads
        self.accept: tuple[str, ...] = executor.app.conf.accept_content
        self.ignores_result: bool = task.ignore_result
        self.keeps_errors: bool = task.store_errors_even_if_ignored
        self.expected: tuple[type[BaseException], ...] = tuple(task.throws)
        self.failure_action = Action.ACK if task.acks_on_failure else Action.DEAD
        self.before_start: Any = _overridden(task, "before_start")
        self.on_success: Any = _overridden(task, "on_success")
        self.on_failure: Any = _overridden(task, "on_failure")
        self.on_retry: Any = _overridden(task, "on_retry")
        self.after_return: Any = _overridden(task, "after_return")

    def __call__(self, request: Request) -> Outcome:
        """Run one request of this task; a coroutine to its end, on this thread's own loop."""
        job = self._begun(request)
        if isinstance(job, Outcome):
            return job
        token = push(job.context)
        value: Any = None
        try:
            if self.before_start:
                self.before_start(job.headers.id, job.context.args, job.context.kwargs)
            value = self.entry(*job.context.args, **job.context.kwargs)
            if self.is_async:
                value = self.coroutines.run(value)
            outcome = self._succeeded(job, value)
        except BaseException as error:  # noqa: BLE001  a task may raise anything, SystemExit included: it is its outcome
            outcome = self._raised(job, error)
        finally:
            pop(token)
        return self._over(job, value, outcome)

    async def acall(self, request: Request) -> Outcome:
        """Run one request of this `async def` task on the running loop."""
        job = self._begun(request)
        if isinstance(job, Outcome):
            return job
        token = push(job.context)
        value: Any = None
        try:
            if self.before_start:
                self.before_start(job.headers.id, job.context.args, job.context.kwargs)
            value = await self.entry(*job.context.args, **job.context.kwargs)
            outcome = self._succeeded(job, value)
        except BaseException as error:
            if _is_cancelled(error):
                raise
            outcome = self._raised(job, error)
        finally:
            pop(token)
        return self._over(job, value, outcome)

    def _begun(self, request: Request) -> _Job | Outcome:
        """Read a request and make its context; return the outcome where there is nothing to run."""
        start = time.perf_counter()
        message = request.message
        headers = check_headers(message.headers)
        try:
            body = self.loads(
                message.body,
                message.content_type,
                message.content_encoding,
                accept=self.accept,
                compression=headers.compression,
            )
            args, kwargs, embed = check_body(body)
        except MessageError as error:
            return self._unreadable(request, headers, error)
        if embed.chord is not None:
            # Run without its join, the body of the chord would never come: better kept until somebody can.
            reason = "part of a chord, which this version cannot join"
            return Outcome(key=request.key, state=REJECTED, action=Action.PARK, reason=reason, error=reason)
        context = Context.from_message(
            message.headers,
            args,
            kwargs,
            embed,
            hostname=self.hostname,
            properties=message.properties,
            delivery_info={
                "exchange": message.exchange,
                "routing_key": message.routing_key,
                "priority": message.priority,
                "redelivered": request.deliveries > 1,
            },
        )
        if events.task_prerun.receivers:
            token = push(context)
            try:
                events.task_prerun.send(self.task, task_id=headers.id, task=self.task, args=args, kwargs=kwargs)
            finally:
                pop(token)
        return _Job(request, headers, context, start)

    def _raised(self, job: _Job, error: BaseException) -> Outcome:
        """Make the outcome of a run that raised."""
        if isinstance(error, Ignore):
            return self._ended(job, IGNORED)
        if isinstance(error, Reject):
            return self._rejected(job, error)
        if isinstance(error, Retry):
            return self._retried(job, error)
        return self._failed(job, error)

    def _over(self, job: _Job, value: Any, outcome: Outcome) -> Outcome:
        """Tell that a run is over."""
        if events.task_postrun.receivers:
            token = push(job.context)
            try:
                events.task_postrun.send(
                    self.task,
                    task_id=job.headers.id,
                    task=self.task,
                    args=job.context.args,
                    kwargs=job.context.kwargs,
                    retval=value,
                    state=outcome.state,
                )
            finally:
                pop(token)
        return outcome

    def _succeeded(self, job: _Job, value: Any) -> Outcome:
        context, id_ = job.context, job.headers.id
        followups = after_success(self.app, context, context.embed, value)
        records: tuple[ResultRecord, ...] = ()
        if not self._ignores(job):
            children = _children(context, followups)
            records = (self.recorder.success(job.headers, value, children, extended=self._extended(job)),)
        outcome = self._ended(job, SUCCESS, records=records, followups=followups)
        if self.on_success:
            self._handler(self.on_success, value, id_, context.args, context.kwargs)
        if events.task_success.receivers:
            events.task_success.send(self.task, result=value)
        if self.after_return:
            self._handler(self.after_return, SUCCESS, value, id_, context.args, context.kwargs, None)
        return outcome

    def _failed(self, job: _Job, error: BaseException) -> Outcome:
        context, headers = job.context, job.headers
        text = _traceback(error)
        records: tuple[ResultRecord, ...] = ()
        if not self._ignores(job) or self.keeps_errors:
            records = self._failure_records(job, error, text)
        outcome = self._ended(
            job,
            FAILURE,
            action=self.failure_action,
            records=records,
            followups=after_failure(self.app, context, context.embed, error, text),
            error=safe_repr(error),
            traceback=None if isinstance(error, self.expected) else text,
        )
        if self.on_failure:
            self._handler(self.on_failure, error, headers.id, context.args, context.kwargs, text)
        if events.task_failure.receivers:
            events.task_failure.send(
                self.task,
                task_id=headers.id,
                exception=error,
                args=context.args,
                kwargs=context.kwargs,
                traceback=text,
            )
        if self.after_return:
            self._handler(self.after_return, FAILURE, error, headers.id, context.args, context.kwargs, text)
        return outcome

    def _failure_records(self, job: _Job, error: BaseException, text: str) -> tuple[ResultRecord, ...]:
        """Record the failure, and record it for the later steps of the chain, which will never run."""
        own = self.recorder.exception(
            job.headers,
            FAILURE,
            error,
            traceback=text,
            children=_children(job.context, ()),
            extended=self._extended(job),
        )
        return (own, *self.recorder.later_steps(job.headers, job.context.embed, FAILURE, error))

    def _retried(self, job: _Job, error: Retry) -> Outcome:
        cause = error.exc or error
        records: tuple[ResultRecord, ...] = ()
        if not self._ignores(job):
            records = (self.recorder.exception(job.headers, RETRY, cause, traceback=_traceback(cause)),)
        outcome = self._ended(job, RETRY, records=records, error=str(error))
        if self.on_retry:
            arguments = (job.headers.id, job.context.args, job.context.kwargs, _traceback(cause))
            self._handler(self.on_retry, cause, *arguments)
        if events.task_retry.receivers:
            events.task_retry.send(self.task, request=job.context, reason=cause)
        return outcome

    def _rejected(self, job: _Job, error: Reject) -> Outcome:
        reason = f"rejected by the task: {error.reason}"
        if error.requeue:
            return self._ended(job, REJECTED, action=Action.RELEASE, error=reason)
        records = () if self._ignores(job) else (self.recorder.exception(job.headers, FAILURE, error),)
        return self._ended(job, REJECTED, action=Action.DEAD, records=records, error=reason)

    def _unreadable(self, request: Request, headers: TaskHeaders, error: MessageError) -> Outcome:
        """End a message whose body cannot be read: a dead letter, and a failure its caller can see."""
        return Outcome(
            key=request.key,
            state=FAILURE,
            action=Action.DEAD,
            reason=str(error),
            records=()
            if headers.ignores_result(self.ignores_result)
            else (self.recorder.exception(headers, FAILURE, error),),
            error=str(error),
        )

    def _ended(
        self,
        job: _Job,
        state: str,
        *,
        action: Action = Action.ACK,
        records: tuple[ResultRecord, ...] = (),
        followups: Sequence[Message] = (),
        error: str = "",
        traceback: str | None = None,
    ) -> Outcome:
        return Outcome(
            key=job.request.key,
            state=state,
            action=action,
            reason=error,
            records=records,
            followups=(*job.context.followups, *followups),
            runtime=time.perf_counter() - job.start,
            error=error,
            traceback=traceback,
        )

    def _ignores(self, job: _Job) -> bool:
        return job.headers.ignores_result(self.ignores_result)

    def _extended(self, job: _Job) -> dict[str, Any] | None:
        return self.recorder.extended(job.headers, job.request.queue, job.context.args, job.context.kwargs)

    def _handler(self, handler: Any, *arguments: Any) -> None:
        """Call a handler; one that raises, SystemExit too, is logged and changes nothing of the outcome."""
        try:
            handler(*arguments)
        except BaseException:
            logger.exception("task handler failed", extra={"event": "handler_failed", "task": self.task.name})


def rebuilt(rebuild: Rebuild) -> Executor:
    """Make an executor in a process that shares no memory with the worker: import the app and its modules anew.

    Raises: ConfigurationError: there is no app at that path. Whatever importing the user's modules raises.
    """
    from celeriac.client.discovery import find_app  # noqa: PLC0415  only where a pool starts processes anew

    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    app = find_app(rebuild.app)
    if rebuild.config is not None:
        app.config_from_object(*rebuild.config)
    app.conf.override(rebuild.overrides)
    app.import_modules()
    app.finalize()
    return Executor(app, rebuild.hostname)


def _is_cancelled(error: BaseException) -> bool:
    """Whether the asyncio task that runs is being cancelled, or closed, from outside: not an outcome of the task's."""
    if isinstance(error, GeneratorExit):
        return True
    import asyncio  # noqa: PLC0415  loaded by the loop that runs

    if not isinstance(error, asyncio.CancelledError):
        return False
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def _overridden(task: Task[..., Any], name: str) -> Any:
    """Return a handler, or None where the class left it as it was: then the hot path does not call it."""
    from celeriac.client.task import Task  # noqa: PLC0415  the client imports the executor for eager mode

    return None if getattr(type(task), name) is getattr(Task, name) else getattr(task, name)


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  hostile exceptions break even this
        return f"{type(error).__name__}: {safe_repr(error)}"


def _children(context: Context, followups: Sequence[Message]) -> list[Any]:
    """Return what a result document says of the tasks this one started."""
    if not context.children and not followups:
        return []
    sent = [[[message.headers["id"], None], None] for message in followups]
    return [*(child.as_tuple() for child in context.children), *sent]
