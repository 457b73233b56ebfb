"""Make the outcome of a run that brought none of its own.

    its process died          back to its queue, counted; nothing is recorded yet
    … and it may not run anew FAILURE, as if it had raised
    … and it was the last try FAILURE, a dead letter: `task_max_deliveries` is reached
    hard time limit           FAILURE, acknowledged, or a dead letter without `task_acks_on_timeout`
    soft limit, too late      FAILURE, as if it had raised: the task itself had ended
    terminated                REVOKED, acknowledged
    anything else             FAILURE, a dead letter: a defect, which its message may help to find

A run may go back unless the task has `reject_on_worker_lost` off or is acknowledged first. What a failed task leads to
happens here too: its error callbacks are sent, the later steps of its chain recorded as ended, events told. Handlers of
the task (`on_failure`, `after_return`) are not called: they belong where the task runs, and that is gone.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from celeriac import events
from celeriac.client.context import Context
from celeriac.errors import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celeriac.model.document import safe_repr
from celeriac.model.join import Part
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Outcome
from celeriac.model.protocol import Embed, TaskHeaders, check_body, check_headers
from celeriac.model.record import FAILURE, REJECTED, REVOKED, ResultRecord
from celeriac.model.request import Request
from celeriac.runtime.followups import after_failure
from celeriac.runtime.recording import Recorder

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

__all__ = ["Consequences", "Failures"]

logger: logging.Logger = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""How long `close` waits for error callbacks that are called here."""


class Consequences(Struct, frozen=True):
    """What is committed with the end of a failed run."""

    records: tuple[ResultRecord, ...] = ()
    followups: tuple[Message, ...] = ()
    parts: tuple[Part, ...] = ()


class _Policy(Struct, frozen=True, kw_only=True):
    """What the settings and a task say of failures."""

    task: Task[..., Any] | None = None
    runs_again: bool = False
    max_deliveries: int | None = None
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    ignores_result: bool = False
    keeps_errors: bool = False


class Failures:
    """Makes outcomes of failed runs of an app's tasks, for any thread; nothing of the user's holds it up."""

    def __init__(self, app: Celeriac, recorder: Recorder, hostname: str) -> None:
        self._app = app
        self._recorder = recorder
        self._hostname = hostname
        self._accept: tuple[str, ...] = app.conf.accept_content
        self._calls = _Calls()
        self._policies = {
            name: _Policy(
                task=task,
                runs_again=task.acks_late and task.reject_on_worker_lost,
                max_deliveries=(
                    task.max_deliveries if task.max_deliveries is not None else app.conf.task_max_deliveries
                ),
                acks_on_failure=task.acks_on_failure,
                acks_on_timeout=task.acks_on_timeout,
                ignores_result=task.ignore_result,
                keeps_errors=task.store_errors_even_if_ignored,
            )
            for name, task in app.tasks.items()
        }

    def outcome(self, request: Request, error: BaseException) -> Outcome:
        """Return the outcome of a run that ended with this error and nothing else."""
        policy = self._policies.get(request.task) or _Policy()
        reason = safe_repr(error)
        state, action = FAILURE, Action.DEAD
        if isinstance(error, WorkerLostError):
            last = policy.max_deliveries is not None and request.deliveries >= policy.max_deliveries
            if policy.runs_again and not last:
                return Outcome(key=request.key, state=REJECTED, action=Action.RELEASE, reason=reason, error=reason)
            if not policy.runs_again and policy.acks_on_failure:
                action = Action.ACK
        elif isinstance(error, TimeLimitExceeded):
            action = Action.ACK if policy.acks_on_timeout else Action.DEAD
        elif isinstance(error, TaskRevokedError):
            state, action = REVOKED, Action.ACK
        elif isinstance(error, SoftTimeLimitExceeded):  # raised so late that the task had ended already
            action = Action.ACK if policy.acks_on_failure else Action.DEAD
        else:
            reason = f"ended without an outcome: {reason}"
        text = "" if error.__traceback__ is None else _traceback(error)
        try:
            told = self.consequences(request.message, request.queue, state, error, text)
        except Exception:  # who calls this has a slot to look after
            logger.exception("a failure is not recorded", extra={"event": "internal_error", "task": request.task})
            told, action = Consequences(), Action.DEAD
        return Outcome(
            key=request.key,
            state=state,
            action=action,
            reason=reason,
            records=told.records,
            followups=told.followups,
            parts=told.parts,
            error=reason,
            traceback=text,
        )

    def consequences(
        self, message: Message, queue_name: str, state: str, error: BaseException, text: str = ""
    ) -> Consequences:
        """Tell of a task that ended in FAILURE or REVOKED, and return what is to be committed with that.

        Args:
            message: The task's.
            queue_name: Where it came from.
            state: What is recorded.
            error: What its caller is to see.
            text: The traceback, if there is one.
        """
        headers = check_headers(message.headers)
        policy = self._policies.get(headers.task) or _Policy()
        args, kwargs, embed = self._body(message, headers)
        context = Context.from_message(
            message.headers, args, kwargs, embed, hostname=self._hostname, properties=message.properties
        )
        followups: list[Message] = []
        if state == FAILURE:
            followups = after_failure(self._app, context, embed, error, text, call=self._calls.put)
        self._send(headers, context, policy.task, error, text)
        own_part = [] if embed.chord is None else [self._recorder.part(headers, state, error, embed.chord)]
        parts = (*own_part, *self._recorder.later_parts(headers, embed, state, error))
        if headers.ignores_result(policy.ignores_result) and not policy.keeps_errors:
            return Consequences(followups=tuple(followups), parts=parts)
        extended = self._recorder.extended(headers, queue_name, args, kwargs)
        own = self._recorder.exception(
            headers, state, error, message=message, traceback=text or None, extended=extended
        )
        return Consequences(
            records=(own, *self._recorder.later_steps(headers, embed, state, error, message)),
            followups=tuple(followups),
            parts=parts,
        )

    def close(self) -> None:
        """Wait a little for the error callbacks that are called here."""
        self._calls.close(CLOSE_SECONDS)

    def _body(self, message: Message, headers: TaskHeaders) -> tuple[list[Any], dict[str, Any], Embed]:
        """Read a body as far as it can be read."""
        try:
            return check_body(
                self._app.codecs.loads(
                    message.body,
                    message.content_type,
                    message.content_encoding,
                    accept=self._accept,
                    compression=headers.compression,
                )
            )
        except Exception as error:  # noqa: BLE001  the user's classes may raise anything as they are unpickled
            logger.warning(
                "the body of %s[%s] is not readable, its error callbacks are not known: %s",
                headers.task,
                headers.id,
                safe_repr(error),
                extra={"event": "body_unreadable", "task": headers.task, "task_id": headers.id},
            )
            return [], {}, Embed()

    def _send(
        self, headers: TaskHeaders, context: Context, task: Task[..., Any] | None, error: BaseException, text: str
    ) -> None:
        if isinstance(error, TaskRevokedError):
            if events.task_revoked.receivers:
                events.task_revoked.send(
                    headers.task,
                    request=headers,
                    expired=error.args == ("expired",),
                    terminated=error.args == ("terminated",),
                )
        elif events.task_failure.receivers:
            events.task_failure.send(
                task,
                task_id=headers.id,
                exception=error,
                args=context.args,
                kwargs=context.kwargs,
                traceback=text,
            )


class _Calls:
    """Calls functions of the user one after the other in a thread of its own.

    Who makes outcomes looks after all slots of a pool: an error callback that takes long must not hold it up.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, call: Callable[[], object]) -> None:
        """Have a function called soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="celeriac-errbacks", daemon=True)
                self._thread.start()
        self._queue.put(call)

    def close(self, timeout: float) -> None:
        """Wait until all are called, but no longer than `timeout` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call()
            except BaseException:  # SystemExit of a callback would end this thread unseen
                logger.exception("error callback failed", extra={"event": "errback_failed"})


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  hostile exceptions break even this
        return f"{type(error).__name__}: {safe_repr(error)}"
