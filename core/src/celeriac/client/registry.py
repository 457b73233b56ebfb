"""The tasks of one app, by name: how they enter, and how they are completed once settings can be read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from celeriac.client import state
from celeriac.client.annotations import annotate
from celeriac.client.decorating import task_name
from celeriac.errors import AlreadyRegistered, NotRegistered

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

__all__ = ["Registry"]


class Registry(dict[str, "Task[..., Any]"]):
    """Tasks by name. A missing one is `NotRegistered`, with the nearest name."""

    def __init__(self, app: Celeriac) -> None:
        super().__init__()
        self._app = app
        self._lock = threading.RLock()
        self._added: list[Task[..., Any]] = []
        self._shared = 0

    def __missing__(self, name: str) -> Task[..., Any]:
        raise NotRegistered(name, self)

    def register(self, task: Task[..., Any]) -> None:
        """Add a task. One of the same place in the source replaces the former: its module was loaded again.

        Raises: AlreadyRegistered: another task has that name.
        """
        kind = type(task)
        if not task.name:
            task.name = task_name(self._app, kind.__name__, kind.__module__)
        if not task.origin:
            task.origin = f"{kind.__module__}.{kind.__qualname__}"
        with self._lock:
            former = self.get(task.name)
            if former is not None and former is not task and former.origin != task.origin:
                raise AlreadyRegistered(task.name, former.origin, task.origin)
            self[task.name] = task
            task.attach(self._app)
            self._added.append(task)

    @property
    def incomplete(self) -> bool:
        """Whether tasks were added, or offered to every app, since the last `complete`."""
        return bool(self._added) or self._shared != len(state.shared)

    def complete(self) -> bool:
        """Add the shared tasks and apply `task_annotations`; return whether there was anything to do."""
        with self._lock:
            while self._shared != len(state.shared):
                self._shared += 1
                state.shared[self._shared - 1](self._app)
            added, self._added = self._added, []
            try:
                for task in added:
                    annotate(task, self._app.conf.task_annotations)
                    task.on_bound(self._app)
            except BaseException:
                self._added = [*added, *self._added]
                raise
            return bool(added)
