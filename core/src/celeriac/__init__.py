"""Celeriac: a distributed task queue that neither loses nor doubles work.

The public names, each loaded when it is first used, so that `import celeriac` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take as true; importing `typing` for it would cost 8 ms

if TYPE_CHECKING:
    from typing import Any

    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.mapping import chunks, xmap, xstarmap
    from celeriac.client.canvas.workflows import chain, chord, group
    from celeriac.client.context import Context, allow_join_result
    from celeriac.client.eager import EagerResult
    from celeriac.client.groupresult import GroupResult
    from celeriac.client.result import AsyncResult
    from celeriac.client.resultset import ResultSet
    from celeriac.client.shared import shared_task
    from celeriac.client.state import get_current_app
    from celeriac.client.task import AsyncTask, Task
    from celeriac.model.routing import Exchange, Queue
    from celeriac.model.signature import Signature, signature

    current_app: Celeriac
    current_task: Task[..., Any]

__all__ = [
    "AsyncResult",
    "AsyncTask",
    "Celeriac",
    "Context",
    "EagerResult",
    "Exchange",
    "GroupResult",
    "Queue",
    "ResultSet",
    "Signature",
    "Task",
    "allow_join_result",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "get_current_app",
    "group",
    "shared_task",
    "signature",
    "xmap",
    "xstarmap",
]

_HOMES = {
    "AsyncResult": "celeriac.client.result",
    "AsyncTask": "celeriac.client.task",
    "Celeriac": "celeriac.client.app",
    "Context": "celeriac.client.context",
    "EagerResult": "celeriac.client.eager",
    "Exchange": "celeriac.model.routing",
    "GroupResult": "celeriac.client.groupresult",
    "Queue": "celeriac.model.routing",
    "ResultSet": "celeriac.client.resultset",
    "Signature": "celeriac.model.signature",
    "Task": "celeriac.client.task",
    "allow_join_result": "celeriac.client.context",
    "chain": "celeriac.client.canvas.workflows",
    "chord": "celeriac.client.canvas.workflows",
    "chunks": "celeriac.client.canvas.mapping",
    "current_app": "celeriac.client.state",
    "current_task": "celeriac.client.state",
    "get_current_app": "celeriac.client.state",
    "group": "celeriac.client.canvas.workflows",
    "shared_task": "celeriac.client.shared",
    "signature": "celeriac.model.signature",
    "xmap": "celeriac.client.canvas.mapping",
    "xstarmap": "celeriac.client.canvas.mapping",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'celeriac' has no attribute {name!r}")
    import importlib  # noqa: PLC0415  loaded by the first use of a name, not by `import celeriac`

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
