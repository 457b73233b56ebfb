"""How a run ends: its outcome, built so that result and follow-ups settle as one, and what is told of it."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from celeriac import events
from celeriac.client.canvas.replacing import Replaced
from celeriac.client.context import Context, Run, pop, push
from celeriac.errors import Ignore, MessageError, Reject, Retry
from celeriac.model.document import safe_repr
from celeriac.model.join import Join, Part
from celeriac.model.outcome import Action, Outcome
from celeriac.model.record import FAILURE, IGNORED, REJECTED, RETRY, SUCCESS
from celeriac.runtime.followups import after_failure, after_success

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.model.message import Message
    from celeriac.model.protocol import TaskHeaders
    from celeriac.model.record import ResultRecord
    from celeriac.model.request import Request
    from celeriac.runtime.recording import Recorder

__all__ = ["Ending"]

logger: logging.Logger = logging.getLogger(__name__)


class Ending:
    """What happens when a run of one task ends; everything that is the same for each of its runs is looked up once."""

    def __init__(self, app: Celeriac, task: Task[..., Any], recorder: Recorder) -> None:
        self.app: Celeriac = app
        self.task: Task[..., Any] = task
        self.recorder: Recorder = recorder
        self.ignores_result: bool = task.ignore_result
        self.keeps_errors: bool = task.store_errors_even_if_ignored
        self.expected: tuple[type[BaseException], ...] = tuple(task.throws)
        self.failure_action: Action = Action.ACK if task.acks_on_failure else Action.DEAD
        self.on_success: Any = overridden(task, "on_success")
        self.on_failure: Any = overridden(task, "on_failure")
        self.on_retry: Any = overridden(task, "on_retry")
        self.after_return: Any = overridden(task, "after_return")

    def _over(self, run: Run, value: Any, outcome: Outcome) -> None:
        """Tell that a run is over."""
        token = push(run)
        try:
            events.task_postrun.send(
                self.task,
                task_id=run.headers.id,
                task=self.task,
                args=run.args,
                kwargs=run.kwargs,
                retval=value,
                state=outcome.state,
            )
        finally:
            pop(token)

    def _raised(self, run: Run, error: BaseException) -> Outcome:
        """Make the outcome of a run that raised."""
        if isinstance(error, Replaced):
            return self._ended(run, IGNORED)
        if isinstance(error, Ignore):
            return self._ended(run, IGNORED, parts=self._parts(run, IGNORED, None))
        if isinstance(error, Reject):
            return self._rejected(run, error)
        if isinstance(error, Retry):
            return self._retried(run, error)
        return self._failed(run, error)

    def _succeeded(self, run: Run, value: Any) -> Outcome:
        context, id_ = run.context, run.headers.id
        plan = after_success(self.app, context, context.embed, value)
        records: tuple[ResultRecord, ...] = ()
        if not self._ignores(run):
            children = _children(context, plan.children)
            extended, message = self._extended(run), run.request.message
            records = (self.recorder.success(run.headers, value, children, message=message, extended=extended),)
        parts = self._parts(run, SUCCESS, value)
        outcome = self._ended(run, SUCCESS, records=records, followups=plan.messages, joins=plan.joins, parts=parts)
        if self.on_success:
            self._handler(self.on_success, value, id_, context.args, context.kwargs)
        if events.task_success.receivers:
            events.task_success.send(self.task, result=value)
        if self.after_return:
            self._handler(self.after_return, SUCCESS, value, id_, context.args, context.kwargs, None)
        return outcome

    def _failed(self, run: Run, error: BaseException) -> Outcome:
        context, headers = run.context, run.headers
        text = _traceback(error)
        records: tuple[ResultRecord, ...] = ()
        if not self._ignores(run) or self.keeps_errors:
            records = self._failure_records(run, error, text)
        outcome = self._ended(
            run,
            FAILURE,
            action=self.failure_action,
            records=records,
            followups=after_failure(self.app, context, context.embed, error, text),
            parts=self._parts(run, FAILURE, error),
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

    def _failure_records(self, run: Run, error: BaseException, text: str) -> tuple[ResultRecord, ...]:
        """Record the failure, and record it for the later steps of the chain, which will never run."""
        own = self.recorder.exception(
            run.headers,
            FAILURE,
            error,
            message=run.request.message,
            traceback=text,
            children=_children(run.context, ()),
            extended=self._extended(run),
        )
        later = self.recorder.later_steps(run.headers, run.context.embed, FAILURE, error, run.request.message)
        return (own, *later)

    def _retried(self, run: Run, error: Retry) -> Outcome:
        cause = error.exc or error
        records: tuple[ResultRecord, ...] = ()
        if not self._ignores(run):
            message, text = run.request.message, _traceback(cause)
            records = (self.recorder.exception(run.headers, RETRY, cause, message=message, traceback=text),)
        outcome = self._ended(run, RETRY, records=records, error=str(error))
        if self.on_retry:
            arguments = (run.headers.id, run.args, run.kwargs, _traceback(cause))
            self._handler(self.on_retry, cause, *arguments)
        if events.task_retry.receivers:
            events.task_retry.send(self.task, request=run.context, reason=cause)
        return outcome

    def _rejected(self, run: Run, error: Reject) -> Outcome:
        reason = f"rejected by the task: {error.reason}"
        if error.requeue:
            return self._ended(run, REJECTED, action=Action.RELEASE, error=reason)
        message = run.request.message
        later = self.recorder.later_steps(run.headers, run.embed, FAILURE, error, message)
        own = self.recorder.exception(run.headers, FAILURE, error, message=message)
        records = () if self._ignores(run) else (own, *later)
        parts = self._parts(run, FAILURE, error)
        return self._ended(run, REJECTED, action=Action.DEAD, records=records, parts=parts, error=reason)

    def _unreadable(self, request: Request, headers: TaskHeaders, error: MessageError) -> Outcome:
        """End a message whose body cannot be read: a dead letter, and a failure its caller can see."""
        return Outcome(
            key=request.key,
            state=FAILURE,
            action=Action.DEAD,
            reason=str(error),
            records=()
            if headers.ignores_result(self.ignores_result)
            else (self.recorder.exception(headers, FAILURE, error, message=request.message),),
            parts=() if headers.group is None else (self.recorder.part(headers, FAILURE, error),),
            error=str(error),
        )

    def _ended(
        self,
        run: Run,
        state: str,
        *,
        action: Action = Action.ACK,
        records: tuple[ResultRecord, ...] = (),
        followups: Sequence[Message] = (),
        joins: Sequence[Join] = (),
        parts: Sequence[Part] = (),
        error: str = "",
        traceback: str | None = None,
    ) -> Outcome:
        return Outcome(
            key=run.request.key,
            state=state,
            action=action,
            reason=error,
            records=records,
            followups=tuple(followups) if run.made is None else (*run.made.followups, *followups),
            joins=tuple(joins) if run.made is None else (*run.made.joins, *joins),
            grows=() if run.made is None else tuple(run.made.grows),
            parts=tuple(parts),
            runtime=time.perf_counter() - run.start,
            error=error,
            traceback=traceback,
        )

    def _parts(self, run: Run, state: str, value: Any) -> list[Part]:
        """Return what this run gives to the join it is a member of, and, where its chain ends, what that would have."""
        own = [] if run.embed.chord is None else [self.recorder.part(run.headers, state, value, run.embed.chord)]
        return own if state == SUCCESS else [*own, *self.recorder.later_parts(run.headers, run.embed, state, value)]

    def _ignores(self, run: Run) -> bool:
        return run.headers.ignores_result(self.ignores_result)

    def _extended(self, run: Run) -> dict[str, Any] | None:
        return self.recorder.extended(run.headers, run.request.queue, run.args, run.kwargs)

    def _handler(self, handler: Any, *arguments: Any) -> None:
        """Call a handler; one that raises, SystemExit too, is logged and changes nothing of the outcome."""
        try:
            handler(*arguments)
        except BaseException:
            logger.exception("task handler failed", extra={"event": "handler_failed", "task": self.task.name})


def overridden(task: Task[..., Any], name: str) -> Any:
    """Return a handler, or None where the class left it as it was: then the hot path does not call it."""
    from celeriac.client.task import Task  # noqa: PLC0415  the client imports the executor for eager mode

    return None if getattr(type(task), name) is getattr(Task, name) else getattr(task, name)


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  hostile exceptions break even this
        return f"{type(error).__name__}: {safe_repr(error)}"


def _children(context: Context, followed: Sequence[Any]) -> list[Any]:
    """Return what a result document says of the tasks this one started."""
    if not context.children and not followed:
        return []
    return [*(child.as_tuple() for child in context.children), *followed]
