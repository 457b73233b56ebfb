"""States of a task's own, as records for the result store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.model.document import result_document
from celeriac.model.record import ResultRecord

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.context import Context

__all__ = ["state_record"]


def state_record(app: Celeriac, task_id: str, state: str, meta: Any, request: Context | None) -> ResultRecord:
    """Return the record of a state with its data. `request` is the run that says so, if it is one.

    Raises: EncodeError: the result serializer cannot write `meta`.
    """
    document = result_document(
        task_id=task_id,
        state=state,
        result=meta,
        group_id=request.group if request is not None else None,
        parent_id=request.parent_id if request is not None else None,
    )
    payload, content_type, content_encoding = app.codecs.dumps(document, app.conf.result_serializer)
    return ResultRecord(
        id=task_id,
        state=state,
        payload=payload,
        content_type=content_type,
        content_encoding=content_encoding,
        expires_seconds=app.conf.result_expires or None,
        reply_to=(request.reply_to or "") if request is not None and app.connections.replies else "",
    )
