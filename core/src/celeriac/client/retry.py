"""Running a task again: `self.retry`, and automatic retries of chosen exceptions.

A retry keeps the task's id and everything that follows it. In a worker nothing is published here: the message is left
in `request.followups` and goes out with the settlement of this run, so that the task is neither lost nor doubled.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from celeriac.client.context import Context, current_context
from celeriac.errors import Ignore, MaxRetriesExceededError, Reject, Retry
from celeriac.model.routing import Queue

if TYPE_CHECKING:
    from celeriac.client.task import Task

__all__ = ["AutoRetry", "backoff_seconds", "retry", "with_autoretry"]


def retry(
    task: Task[..., Any],
    *,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    exc: BaseException | None,
    throw: bool,
    eta: datetime | str | None,
    countdown: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """Leave the next run's message in the current run, and raise Retry (or return it unless `throw`).

    Raises: Retry: the run ends here. The exception that is being handled, `exc`, or MaxRetriesExceededError: it was
    retried often enough, or the task was called directly.
    """
    request = current_context()
    if request is None or request.called_directly:
        _give_up(exc, Retry("The task can be retried", exc))
    retries = request.retries + 1
    if max_retries is None:
        max_retries = task.max_retries if request.max_retries is None else request.max_retries
    else:
        request.max_retries = max_retries
    if countdown is None and eta is None:
        countdown = task.default_retry_delay
    if max_retries is not None and retries > max_retries:
        _give_up(exc, MaxRetriesExceededError(f"{task.name}[{request.id}] has been retried {max_retries} times."))
    call = {
        **_same_run(request),
        **_same_address(request, options),
        "countdown": countdown,
        "eta": eta,
        **options,
        "retries": retries,
    }
    positional = request.args if args is None else args
    named = request.kwargs if kwargs is None else kwargs
    message = task.app.publisher.build(task.name, tuple(positional), named, task=task, parent=Context(), **call)
    request.followups.append(message)
    when = eta if countdown is None else countdown
    again = Retry(exc=exc or _handled(), when=_moment(when), is_eager=request.is_eager)
    if throw:
        raise again from again.exc
    return again


def _give_up(exc: BaseException | None, otherwise: Exception) -> NoReturn:
    """Raise `exc`, else what is being handled, else `otherwise`; each chained to what is being handled."""
    handled = _handled()
    if exc is not None:
        raise exc from (handled if handled is not exc else exc.__cause__)
    if handled is not None and not isinstance(otherwise, MaxRetriesExceededError):
        raise handled
    raise otherwise from handled


def _handled() -> BaseException | None:
    return sys.exc_info()[1]


def _moment(when: float | datetime | str | None) -> float | datetime | None:
    return datetime.fromisoformat(when) if isinstance(when, str) else when


def _same_run(request: Context) -> dict[str, Any]:
    """Return the options that make the next run the same task: its id, its place in a workflow, what follows it."""
    options = request.as_execution_options()
    headers = options.get("headers") or {}
    # What the broker noted about the deaths of this message belongs to this delivery, not to the next.
    options["headers"] = {name: value for name, value in headers.items() if name != "x-death" and name not in options}
    return {name: value for name, value in options.items() if value is not None}


def _same_address(request: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return where this message came from, unless the caller says where the next one goes."""
    info = request.delivery_info or {}
    address: dict[str, Any] = {"priority": info.get("priority")}
    if not info.get("routing_key") or any(name in options for name in ("queue", "exchange", "routing_key")):
        return address
    if info.get("exchange"):
        return {**address, "exchange": info["exchange"], "routing_key": info["routing_key"]}
    # A Queue, not a name: the message was on it, so it exists whatever this process's settings list.
    return {**address, "queue": Queue(info["routing_key"])}


# -- automatic -------------------------------------------------------------------------------------


class AutoRetry(Struct, frozen=True, kw_only=True):
    """Which exceptions of a task are retried, and when. `backoff` is the factor in seconds; 0 is none."""

    on: tuple[type[BaseException], ...]
    never: tuple[type[BaseException], ...]
    options: Mapping[str, Any]
    backoff: float
    backoff_max: float
    jitter: bool

    @classmethod
    def of(cls, task: Task[..., Any]) -> AutoRetry | None:
        """Read a task's options; None if nothing of it is retried automatically."""
        on = tuple(task.autoretry_for or ())
        if not on:
            return None
        factor = task.retry_backoff
        return cls(
            on=on,
            never=(*(task.dont_autoretry_for or ()), Retry, Ignore, Reject),
            options=dict(task.retry_kwargs or {}),
            backoff=max(1.0, float(factor)) if factor else 0.0,
            backoff_max=float(task.retry_backoff_max),
            jitter=bool(task.retry_jitter),
        )

    def again(self, task: Task[..., Any], error: BaseException) -> Retry:
        """Retry because of `error`."""
        options = dict(self.options)
        request = current_context()
        if self.backoff and request is not None:
            options["countdown"] = backoff_seconds(self.backoff, request.retries, self.backoff_max, self.jitter)
        return task.retry(exc=error, **options)


def backoff_seconds(factor: float, retries: int, most: float, jitter: bool) -> float:
    """Return `factor * 2**retries`, at most `most`; with jitter a whole number from 0 to that."""
    delay = min(most, factor * 2.0 ** min(retries, 1000))
    return random.randrange(int(delay) + 1) if jitter else delay  # noqa: S311  spreads load; not a secret


def with_autoretry(task: Task[..., Any], run: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    """Return `run`, wrapped if the task retries some exceptions automatically."""
    policy = AutoRetry.of(task)
    if policy is None:
        return run

    @functools.wraps(run)
    def attempt(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except policy.never:
            raise
        except policy.on as error:
            raise policy.again(task, error) from error

    @functools.wraps(run)
    async def attempt_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await run(*args, **kwargs)
        except policy.never:
            raise
        except policy.on as error:
            raise policy.again(task, error) from error

    return attempt_async if is_async else attempt
