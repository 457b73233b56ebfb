"""The tasks that every app has: what `map`, `starmap` and `chunks` call, and what a group that is waited for returns.

The first three have the names of Celery's, so that each side runs what the other sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celeriac.client.canvas.mapping import chunks
from celeriac.client.canvas.planning import LIST_TASK
from celeriac.client.shared import shared_task
from celeriac.model.signature import signature

__all__ = ["cut_up", "listed", "mapped", "starmapped"]


@shared_task(name="celery.map", bind=True)
def mapped(self: Any, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with each value, here."""
    call = signature(task, app=self.app)
    return [call.type(value) for value in it]


@shared_task(name="celery.starmap", bind=True)
def starmapped(self: Any, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with each list of values, here."""
    call = signature(task, app=self.app)
    return [call.type(*values) for values in it]


@shared_task(name="celery.chunks", bind=True)
def cut_up(self: Any, task: Mapping[str, Any], it: Iterable[Any], n: int) -> Any:
    """Send the calls in chunks of n; return the result of the group as its tuple."""
    return chunks(task, it, n, app=self.app).apply_async().as_tuple()


@shared_task(name=LIST_TASK)
def listed(values: list[Any]) -> list[Any]:
    """Return what the members of a group returned."""
    return values
