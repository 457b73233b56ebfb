"""The result document: what a result store keeps of a task, and exceptions as data inside it.

Source: Celery 5's result meta (`status`, `result`, `traceback`, `children`, `date_done`, …, `task_id`), so that its
clients read our results and ours read theirs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celeriac import errors
from celeriac.errors import CeleriacError, DecodeError, RemoteError, TaskPredicate
from celeriac.model.record import EXCEPTION_STATES, READY_STATES

__all__ = ["exception_data", "exception_from_data", "now_text", "result_document", "result_value", "safe_repr"]

_WIRE_MODULES = {
    **dict.fromkeys(("TaskRevokedError", "MaxRetriesExceededError", "Retry", "Ignore", "Reject"), "celery.exceptions"),
    **dict.fromkeys(("TimeLimitExceeded", "SoftTimeLimitExceeded", "WorkerLostError"), "billiard.exceptions"),
    "NotRegistered": "celery.exceptions",
}
"""Where Celery has an exception of the same name and meaning: written under its module, read back as ours."""


def result_document(
    *,
    task_id: str,
    state: str,
    result: Any,
    traceback: str | None = None,
    children: Sequence[Any] = (),
    group_id: str | None = None,
    parent_id: str | None = None,
    extended: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the document of one task. `extended` holds name, args, kwargs, worker, retries, queue and stamps."""
    document: dict[str, Any] = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": list(children),
        "date_done": now_text() if state in READY_STATES else None,
    }
    if group_id is not None:
        document["group_id"] = group_id
    if parent_id is not None:
        document["parent_id"] = parent_id
    if extended:
        document.update(extended)
    document["task_id"] = task_id
    return document


_second: tuple[int, str] = (0, "1970-01-01T00:00:00")


def now_text() -> str:
    """Return this moment as documents have it, such as `2026-11-22T16:23:27.112690+00:00`.

    The part before the point is kept for the rest of its second: so it takes a third of `datetime.isoformat`.
    """
    global _second  # noqa: PLW0603  one pair, replaced as a whole
    second, micro = divmod(time.time_ns() // 1000, 1_000_000)
    known, text = _second
    if known != second:
        text = datetime.fromtimestamp(second, UTC).isoformat()[:19]
        _second = (second, text)
    return f"{text}.{micro:06d}+00:00"


def result_value(document: Mapping[str, Any]) -> Any:
    """Return the value in a document: an exception instance where its state is one of an exception.

    Raises: DecodeError: the document has no `status`.
    """
    state = document.get("status")
    if not isinstance(state, str):
        raise DecodeError("The stored result has no `status`: it was not written by a task worker.")
    value = document.get("result")
    if state in EXCEPTION_STATES and isinstance(value, Mapping) and "exc_type" in value:
        return exception_from_data(value)
    return value


def exception_data(error: BaseException) -> dict[str, Any]:
    """Return an exception as data; `exc_message` holds its arguments as they are, which may not be serializable."""
    kind = type(error)
    module = kind.__module__
    if module == errors.__name__:
        module = _WIRE_MODULES.get(kind.__name__, module)
    try:
        arguments = list(error.args)
    except Exception:  # noqa: BLE001  an exception class may define anything
        arguments = []
    return {"exc_type": kind.__qualname__, "exc_message": arguments, "exc_module": module}


def exception_from_data(data: Mapping[str, Any]) -> BaseException:
    """Return the exception that data describes.

    Only classes of modules that are imported already are looked up, and only if they are exceptions: nothing a result
    store holds can import or call anything else. What cannot be rebuilt is a `RemoteError` that tells the same.
    """
    name, module = str(data.get("exc_type")), str(data.get("exc_module"))
    arguments = data.get("exc_message")
    arguments = list(arguments) if isinstance(arguments, list | tuple) else [arguments]
    kind = _exception_class(module, name)
    if kind is not None:
        try:
            if issubclass(kind, CeleriacError) and not issubclass(kind, TaskPredicate):
                return kind.from_parts(arguments, {})
            return kind(*arguments)
        except Exception:  # noqa: BLE001, S110  its constructor wants other arguments than it keeps
            pass
    return RemoteError(name, module, arguments)


def _exception_class(module: str, name: str) -> type[Exception] | None:
    if _WIRE_MODULES.get(name) == module:
        module = errors.__name__
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def safe_repr(value: Any, limit: int = 1024) -> str:
    """Return `repr(value)`, shortened to `limit` characters, whatever `__repr__` does."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  so may any value
        text = f"<{type(value).__name__}: __repr__ raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."
