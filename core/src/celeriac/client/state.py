"""Which app is current, and tasks that belong to every app.

The current app is the last one made in this process with `set_as_current`, unless a thread or coroutine chose
another with `app.set_current()`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celeriac.errors import ConfigurationError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["CurrentApp", "CurrentTask", "current_app", "current_task", "get_current_app"]

_chosen: ContextVar[Celeriac | None] = ContextVar("celeriac_app", default=None)
_default: list[Celeriac] = []

shared: list[Callable[[Celeriac], None]] = []
"""What `shared_task` leaves for every app: each is called once per app, when that app is finalized."""


def choose(app: Celeriac) -> None:
    """Make an app the current one of this thread or coroutine."""
    _chosen.set(app)


def make_default(app: Celeriac | None) -> None:
    """Make an app the current one wherever none was chosen; None forgets it."""
    _default[:] = [] if app is None else [app]


def forget(app: Celeriac) -> None:
    """Make an app current nowhere."""
    if app in _default:
        _default.remove(app)
    if _chosen.get() is app:
        _chosen.set(None)


def get_current_app() -> Celeriac:
    """Return the current app.

    Raises: ConfigurationError: no app was made yet.
    """
    app = _chosen.get()
    if app is not None:
        return app
    if not _default:
        raise ConfigurationError(
            "There is no app yet. Make one, app = Celeriac('name'), in a module that is imported before this call."
        )
    return _default[0]


class CurrentApp:
    """Stands for the current app, whichever that is when it is used."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(get_current_app(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(get_current_app(), name, value)

    def __repr__(self) -> str:
        return f"<current {get_current_app()!r}>" if _default or _chosen.get() else "<no current app>"


class CurrentTask:
    """Stands for the task that runs in this thread or coroutine; false outside of tasks."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        task = get_current_app().current_task
        if task is None:
            raise AttributeError(f"No task runs here, so there is no current_task.{name}.")
        return getattr(task, name)

    def __bool__(self) -> bool:
        return bool(_default or _chosen.get()) and get_current_app().current_task is not None

    def __repr__(self) -> str:
        return f"<current {get_current_app().current_task!r}>" if self else "<no current task>"


current_app: CurrentApp = CurrentApp()
current_task: CurrentTask = CurrentTask()
