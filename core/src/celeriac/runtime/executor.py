"""Run one request to its end: decode, call, and turn whatever happens into an `Outcome`.

1. Decode and check the body; one that cannot be read is a dead letter and a recorded failure.
2. Enter the run; `task_prerun`, `before_start`.
3. Call the task. This is all in which the two ways differ: `execute` runs an `async def` task to its end on a loop of
   the thread's own, `aexecute` awaits it on the loop that runs, beside thousands of others.
4. Build the record and the follow-ups (callbacks, the next step of the chain), so that both settle as one.
5. Handlers and events, leave the run.

Most runs return, lead to nothing else and never look at their request: `_succeeded` is for the others.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from celeriac import events
from celeriac.client.canvas.planning import JOIN_TASK
from celeriac.client.context import Run, pop, push
from celeriac.errors import DecodeError, MessageError
from celeriac.model.outcome import Action, Outcome
from celeriac.model.protocol import Embed, TaskHeaders, WrittenEmbed, check_body, check_headers
from celeriac.model.record import REJECTED, SUCCESS
from celeriac.model.steps import Steps
from celeriac.runtime.coroutines import CoroutineRunner
from celeriac.runtime.ending import Ending, overridden
from celeriac.runtime.failures import Failures
from celeriac.runtime.joining import JoinRun
from celeriac.runtime.recording import Recorder
from celeriac.spi.pool import Killed

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.model.message import Message
    from celeriac.model.request import Request
    from celeriac.spi.pool import Rebuild

__all__ = ["Executor", "TaskRun", "rebuilt"]

logger: logging.Logger = logging.getLogger(__name__)

Body = tuple[list[Any], dict[str, Any], Embed]
WrittenBody = tuple[list[Any], dict[str, Any], WrittenEmbed]


class Executor:
    """Runs requests of an app's tasks; everything that does not change from task to task is looked up here, once."""

    def __init__(self, app: Celeriac, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self.recorder: Recorder = Recorder(app, hostname)
        self.coroutines: CoroutineRunner = CoroutineRunner()
        self.failures: Failures = Failures(app, self.recorder, hostname)
        self.bodies: BodyReader = BodyReader(app)
        self.joins: bool = app.connections.joins
        self.chords: bool = app.connections.chords
        self._runs = {name: TaskRun(self, task) for name, task in app.tasks.items()}
        self._calls = {name: run.call for name, run in self._runs.items()}
        self.join: Callable[..., Outcome] = JoinRun(app, self.bodies, self.failures, hostname).call
        self._calls[JOIN_TASK] = self.join

    def execute(self, request: Request) -> Outcome:
        """Run one request. Never raises an Exception: what goes wrong is in the outcome."""
        try:
            return self._calls[request.task](request)
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


class BodyReader:
    """Reads the bodies of messages: in one step where the serializer can, else in two, which tell what is wrong."""

    def __init__(self, app: Celeriac) -> None:
        self._codecs = app.codecs
        self._accept: tuple[str, ...] = app.conf.accept_content
        self._readers: dict[str, Callable[[bytes], Body] | None] | None = None

    def read(self, message: Message, headers: TaskHeaders) -> Body:
        """Return args, kwargs and embed.

        Raises: MessageError: the content type is not accepted, the bytes are broken, or the parts are not these.
        """
        if self._readers is None:
            accepted = self._codecs.accepted(self._accept)
            self._readers = {
                name: each.reader(WrittenBody if each.joins else Body)  # type: ignore[arg-type]  # aliases, which serve
                for name, each in accepted.items()
            }
        reader = self._readers.get(message.content_type)
        if reader is not None and message.content_encoding == "utf-8" and not headers.compression:
            try:
                body = reader(message.body)
                return body if body[2].chain is None else self._stepped(body, message.content_type)
            except DecodeError:
                pass
        return check_body(
            self._codecs.loads(
                message.body,
                message.content_type,
                message.content_encoding,
                accept=self._accept,
                compression=headers.compression,
            )
        )

    def _stepped(self, body: Body, content_type: str) -> Body:
        """Return a body whose chain can be read; one that was not read as written is returned as it is.

        Raises: DecodeError: a step is none.
        """
        args, kwargs, embed = body
        if not isinstance(embed, WrittenEmbed) or not embed.chain:
            return body
        steps = Steps(embed.chain, self._codecs.accepted(self._accept)[content_type].loads, content_type)
        steps.check()
        chained = Embed(callbacks=embed.callbacks, errbacks=embed.errbacks, chain=steps, chord=embed.chord)
        return args, kwargs, chained


class TaskRun(Ending):
    """One task, bound for running: everything that is the same for each of its runs is looked up once."""

    def __init__(self, executor: Executor, task: Task[..., Any]) -> None:
        super().__init__(executor.app, task, executor.recorder)
        self.entry: Callable[..., Any] = task.entry
        self.is_async: bool = task.is_async
        self.hostname: str = executor.hostname
        self.joins: bool = executor.joins
        self.chords: bool = executor.chords
        self.coroutines: CoroutineRunner = executor.coroutines
        self.read: Callable[[Message, TaskHeaders], Body] = executor.bodies.read
        self.before_start: Any = overridden(task, "before_start")
        self.is_plain: bool = self.on_success is None and self.after_return is None and not self.recorder.extends

    def call(self, request: Request) -> Outcome:
        """Run one request of this task; a coroutine to its end, on this thread's own loop."""
        run = self._begun(request)
        if not isinstance(run, Run):  # the other way round the question takes as long as half a run
            return run
        token = push(run)
        value: Any = None
        try:
            if self.before_start:
                self.before_start(run.headers.id, run.args, run.kwargs)
            value = self.entry(*run.args, **run.kwargs)
            if self.is_async:
                value = self.coroutines.run(value)
            outcome = self._returned(run, value)
        except Killed:
            raise
        except BaseException as error:  # noqa: BLE001  a task may raise anything, SystemExit included: it is its outcome
            outcome = self._raised(run, error)
        finally:
            pop(token)
        if events.task_postrun.receivers:
            self._over(run, value, outcome)
        return outcome

    async def acall(self, request: Request) -> Outcome:
        """Run one request of this `async def` task on the running loop."""
        run = self._begun(request)
        if not isinstance(run, Run):  # the other way round the question takes as long as half a run
            return run
        token = push(run)
        value: Any = None
        try:
            if self.before_start:
                self.before_start(run.headers.id, run.args, run.kwargs)
            value = await self.entry(*run.args, **run.kwargs)
            outcome = self._returned(run, value)
        except BaseException as error:
            if _is_cancelled(error):
                raise
            outcome = self._raised(run, error)
        finally:
            pop(token)
        if events.task_postrun.receivers:
            self._over(run, value, outcome)
        return outcome

    def _begun(self, request: Request) -> Run | Outcome:
        """Read a request; return the outcome where there is nothing to run."""
        start = perf_counter()
        headers = request.headers or check_headers(request.message.headers)
        try:
            args, kwargs, embed = self.read(request.message, headers)
        except MessageError as error:
            return self._unreadable(request, headers, error)
        if embed.chord is not None and not (self.joins if "join" in embed.chord else self.chords):
            # Run without its join, the body of the chord would never come: better kept until somebody can.
            reason = "part of a chord, and the result store of this worker counts no members of chords"
            if self.joins:
                reason = (
                    "part of a chord of a Celery client, and the result store of this worker does not count where"
                    " Celery's workers count: have both sides keep results in one Redis, or send it to a queue that"
                    " only Celery's workers take from"
                )
            return Outcome(key=request.key, state=REJECTED, action=Action.PARK, reason=reason, error=reason)
        run = Run(request, headers, args, kwargs, embed, self.hostname, start)
        if events.task_prerun.receivers:
            token = push(run)
            try:
                events.task_prerun.send(self.task, task_id=headers.id, task=self.task, args=args, kwargs=kwargs)
            finally:
                pop(token)
        return run

    def _returned(self, run: Run, value: Any) -> Outcome:
        """Make the outcome of a run that returned, at once where it leads to nothing else."""
        embed, headers = run.embed, run.headers
        follows = embed.callbacks or embed.chain or embed.chord is not None
        if run.made is not None or follows or not self.is_plain or events.task_success.receivers:
            return self._succeeded(run, value)
        ignored = headers.ignore_result
        if self.ignores_result if ignored is None else ignored:
            return Outcome(key=run.request.key, state=SUCCESS, runtime=perf_counter() - run.start)
        record = self.recorder.success(headers, value, message=run.request.message)
        return Outcome(key=run.request.key, state=SUCCESS, records=(record,), runtime=perf_counter() - run.start)


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
    if rebuild.set_up_log is not None:
        rebuild.set_up_log(app.conf)
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
