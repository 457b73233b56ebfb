"""The setting `task_annotations`: attributes that a deployment sets on tasks it does not want to edit."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celeriac.errors import InvalidSetting

if TYPE_CHECKING:
    from celeriac.client.task import Task

__all__ = ["annotate"]


def annotate(task: Task[..., Any], setting: Any) -> None:
    """Set on a task what the setting says for every task (`*`) and for its name, the latter last.

    The setting is a mapping of names to attributes, an object with `annotate(task)` and `annotate_any()`, or a list of
    these. An attribute written `@name` is a function put around the task's own: it is called with that and the
    arguments.
    """
    for source in _sources(setting):
        for attributes in _of(source, task):
            for name, value in (attributes or {}).items():
                if name.startswith("@"):
                    value = functools.partial(value, getattr(task, name[1:]))  # noqa: PLW2901  the wrapped one replaces it
                setattr(task, name.removeprefix("@"), value)


def _sources(setting: Any) -> Iterable[Any]:
    if setting is None:
        return ()
    return setting if isinstance(setting, list | tuple) else (setting,)


def _of(source: Any, task: Task[..., Any]) -> list[Mapping[str, Any] | None]:
    if isinstance(source, Mapping):
        return [source.get("*"), source.get(task.name)]
    if hasattr(source, "annotate"):
        every = source.annotate_any() if hasattr(source, "annotate_any") else None
        return [every, source.annotate(task)]
    raise InvalidSetting("task_annotations", source, "a mapping, an object with annotate(task), or a list of these")
