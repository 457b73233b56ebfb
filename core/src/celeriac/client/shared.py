"""Tasks of libraries: made once, and a task of every app."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, TypeVar, overload

from celeriac.client import state
from celeriac.client.decorating import BoundDecorator, Decorator, share, task_name
from celeriac.client.task import AsyncTask, Task

__all__ = ["shared_task"]

P = ParamSpec("P")
R = TypeVar("R")


class SharedTask:
    """Stands for the task that the current app made of a function."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.__wrapped__ = function
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self._options = options

    def _current(self) -> Task[..., Any]:
        app = state.get_current_app()
        function = self.__wrapped__
        return app.tasks[self._options.get("name") or task_name(app, function.__name__, function.__module__)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._current()(*args, **kwargs)

    def __reduce__(self) -> Any:
        return self._current().__reduce__()

    def __repr__(self) -> str:
        return f"<shared task {self.__module__}.{self.__qualname__}>"


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /, **options: Any) -> AsyncTask[P, R]: ...
@overload
def shared_task(fun: Callable[P, R], /, **options: Any) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], name: str | None = None, **options: Any) -> BoundDecorator: ...
@overload
def shared_task(*, bind: Literal[False] = False, name: str | None = None, **options: Any) -> Decorator: ...
def shared_task(fun: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a task of a function for every app, also those that are made later.

    For libraries, which have no app of their own: calls go through the app that is current when they are made.
    Options are those of `Celeriac.task`.
    """
    if fun is None:
        return lambda function: _share(function, options)
    return _share(fun, options)


def _share(function: Callable[..., Any], options: dict[str, Any]) -> SharedTask:
    share(function, options)
    return SharedTask(function, options)
