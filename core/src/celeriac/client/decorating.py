"""From a function to a task: the options of `@app.task`, checked where they are written."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from celeriac.client import state
from celeriac.client.options import FROM_SETTINGS, check_limits
from celeriac.client.task import AsyncTask, Task
from celeriac.errors import nearest

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["BoundDecorator", "Decorator", "declare_task", "make_task", "share", "task_name"]

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What `@app.task(...)` returns."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundDecorator(Protocol):
    """What `@app.task(bind=True, ...)` returns: the function's first parameter, the task, is not the caller's."""

    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


TASK_OPTIONS = frozenset(FROM_SETTINGS) | {
    "autoretry_for",
    "default_retry_delay",
    "delivery_mode",
    "dont_autoretry_for",
    "exchange",
    "exchange_type",
    "expires",
    "max_retries",
    "queue",
    "rate_limit",
    "resultrepr_maxsize",
    "retry_backoff",
    "retry_backoff_max",
    "retry_jitter",
    "retry_kwargs",
    "routing_key",
    "send_events",
    "throws",
    "trail",
    "typing",
    # Handlers: methods of the class that is made.
    "after_return",
    "before_start",
    "on_bound",
    "on_failure",
    "on_retry",
    "on_success",
    "shadow_name",
}
"""Every option of `@app.task` that becomes an attribute of the task. docs/reference/tasks.md describes them."""

_VALIDATION = "Arguments are not validated by pydantic yet: validate them in the function."
_WITHOUT_COUNTERPART = {
    "pydantic": _VALIDATION,
    "pydantic_strict": _VALIDATION,
    "pydantic_context": _VALIDATION,
    "pydantic_dump_kwargs": _VALIDATION,
    "backend": "All tasks of an app keep their results in its result store: set `result_backend`.",
    "Strategy": "Write a boot step, or a plugin of the kind you want to replace.",
    "Request": "Write a boot step, or a plugin of the kind you want to replace.",
    "immediate": "No broker supports it any more.",
    "mandatory": "Every message is: one that no queue takes raises Unroutable.",
}


def declare_task(app: Celeriac, function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Make a task of a function as the decorator's options say, and register it; return it."""
    rest = dict(options)
    base, bind, name = rest.pop("base", None), bool(rest.pop("bind", False)), rest.pop("name", None)
    shared, lazy, wrap = rest.pop("shared", False), rest.pop("lazy", True), rest.pop("filter", None)
    task: Any = make_task(app, function, name=name, base=base, bind=bind, options=rest)
    if wrap is not None:
        task = wrap(task)
    app.register_task(task)
    if shared:
        share(function, {"base": base, "bind": bind, "name": task.name, **rest})
    if not lazy:
        app.finalize()
    return task


def share(function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Have every app make its own task of a function when it is completed, unless it has one of that name."""

    def construct(app: Celeriac) -> None:
        name = options.get("name") or task_name(app, function.__name__, function.__module__)
        if not app.has_task(name):
            declare_task(app, function, {**options, "name": name})

    state.shared.append(construct)


def make_task(
    app: Celeriac,
    function: Callable[..., Any],
    *,
    name: str | None,
    base: type[Task[..., Any]] | None,
    bind: bool,
    options: Mapping[str, Any],
) -> Task[..., Any]:
    """Return a task of a class of its own, derived from `base`, whose `run` is the function.

    Raises: TypeError: an option that there is not, or of the wrong type. ValueError: one out of range.
    """
    parent: type[Task[..., Any]] = base or app.Task
    chosen = name or task_name(app, function.__name__, function.__module__)
    attributes = _checked(dict(options), parent, chosen)
    bases: tuple[type, ...] = (parent,)
    if inspect.iscoroutinefunction(function) and not issubclass(parent, AsyncTask):
        bases = (AsyncTask,) if parent is Task else (parent, AsyncTask)
    made = type(
        function.__name__,
        bases,
        {
            "run": function if bind else staticmethod(function),
            "bind": bind,
            "name": chosen,
            "abstract": False,
            "origin": _origin(function),
            "__module__": function.__module__,
            "__doc__": function.__doc__,
            **attributes,
        },
    )
    task: Task[..., Any] = made()
    functools.update_wrapper(task, function, updated=())
    return task


def task_name(app: Celeriac, name: str, module: str) -> str:
    """Return the default name: module and function, with the app's own name for the main program."""
    if module == "__main__":
        module = app.main or module
    return f"{module}.{name}" if module else name


def _origin(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{function.__module__}.{function.__qualname__}{place}"


def _checked(options: dict[str, Any], base: type[Task[..., Any]], name: str) -> dict[str, Any]:
    """Check options, and write those that stand for others as these."""
    if "acks_on_failure_or_timeout" in options:
        both = options.pop("acks_on_failure_or_timeout")
        options = {"acks_on_failure": both, "acks_on_timeout": both, **options}
    for option, value in options.items():
        if option not in TASK_OPTIONS and (hasattr(Task, option) or not hasattr(base, option)):
            hint = _WITHOUT_COUNTERPART.get(option)
            known = [*TASK_OPTIONS, "name", "base", "bind", "shared", "lazy", "filter"]
            raise TypeError(f"Task {name!r} has no option {option!r}.{f' {hint}' if hint else nearest(option, known)}")
        rule = _RULES.get(option)
        if rule is not None and value is not None and not rule[0](value):
            raise TypeError(f"Task {name!r}, option {option!r}: must be {rule[1]}; got {value!r}.")
    check_limits(options.get("time_limit"), options.get("soft_time_limit"), f"Task {name!r}")
    return options


def _number(value: Any, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


def _exceptions(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in value
    )


_FLAG = (lambda value: isinstance(value, bool), "true or false")
_SECONDS = (lambda value: _number(value, 0), "seconds, 0 or more")
_COUNT = (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number or None")
_CLASSES = (_exceptions, "a tuple of exception classes")
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("autoretry_for", "dont_autoretry_for", "throws"), _CLASSES),
    **dict.fromkeys(("max_retries", "max_deliveries"), _COUNT),
    **dict.fromkeys(("default_retry_delay", "retry_backoff_max", "time_limit", "soft_time_limit"), _SECONDS),
    **dict.fromkeys(
        (
            "acks_late",
            "acks_on_failure",
            "acks_on_timeout",
            "ignore_result",
            "reject_on_worker_lost",
            "retry_jitter",
            "send_events",
            "store_eager_result",
            "store_errors_even_if_ignored",
            "track_started",
            "trail",
            "typing",
        ),
        _FLAG,
    ),
    "retry_backoff": (lambda value: isinstance(value, bool) or _number(value, 0), "true, false or seconds"),
    "retry_kwargs": (lambda value: isinstance(value, Mapping), "a mapping of options of retry()"),
    "priority": (lambda value: isinstance(value, int) and 0 <= value <= 255, "0 to 255"),
    "rate_limit": (
        lambda value: _number(value, 0) or (isinstance(value, str) and _RATE.fullmatch(value) is not None),
        'a number per second, or a text such as "10/s", "100/m" or "1000/h"',
    ),
}
