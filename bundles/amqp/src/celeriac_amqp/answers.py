"""A result as a message: the document as the body, the task's id as the correlation id, the caller's queue as the key.

Source: the wire of Celery's rpc result backend (celery/backends/rpc.py, `store_result` and `destination_for`). Where
state or id cannot be read from that, headers of our own say them, which Celery's clients pass over.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from celeriac.errors import EncodeError
from celeriac.model.record import FAILURE, RECEIVED, SUCCESS, ResultRecord
from celeriac_amqp.frames import Incoming, Outgoing, Properties

__all__ = ["outgoing", "record_of"]

STATE: Final = "x-celeriac-state"
ID: Final = "x-celeriac-id"
_LONGEST_ID: Final = 255
"""How many bytes a correlation id may have (AMQP 0-9-1, short string)."""

_HEADS: Final = {state: b'{"status":"%s",' % state.encode() for state in (SUCCESS, FAILURE)}
"""How our own JSON documents of most tasks begin."""
_JSON_HEAD: Final = re.compile(rb'\s*\{\s*"status"\s*:\s*"([^"\\]*)"')
_ELSEWHERE: Final = re.compile(rb"status.{0,12}?(SUCCESS|FAILURE|REVOKED|RETRY|STARTED)", re.DOTALL)
"""The state in a document that Celery wrote with another serializer: it comes first, with a few bytes between."""
_HEAD_BYTES: Final = 128


def outgoing(record: ResultRecord, delivery_mode: int, limit: int) -> Outgoing:
    """Return the message of a record. `limit` is the most bytes that its payload may have; 0 is no limit.

    Raises: EncodeError: it is larger; says which task, how large, and the bound.
    """
    payload, state, id_ = record.payload, record.state, record.id
    if limit and len(payload) > limit:
        raise EncodeError(
            f"The result of task {id_} has {len(payload)} bytes; {limit} may be sent. Return a reference to where it is"
            " kept instead, or raise `result_max_bytes` in `result_backend_transport_options`, and the broker's"
            " max_message_size with it."
        )
    headers: dict[str, Any] = {}
    if record.content_type != "application/json" or not payload.startswith(_HEADS.get(state, b'{"status":"?')):
        headers[STATE] = state
    if len(id_) > _LONGEST_ID or len(id_.encode()) > _LONGEST_ID:
        headers[ID] = id_
        id_ = ""
    return Outgoing(
        exchange="",
        routing_key=record.reply_to,
        properties=Properties(
            content_type=record.content_type,
            content_encoding=record.content_encoding,
            delivery_mode=delivery_mode,
            correlation_id=id_,
        ),
        headers=headers,
        body=payload,
    )


def record_of(message: Incoming) -> ResultRecord | None:
    """Return the record that a message brings; None if it is no result of a task."""
    properties, body = message.properties, message.body
    id_ = message.headers.get(ID) or properties.correlation_id
    if not id_ or message.malformed:
        return None
    content_type = properties.content_type or "application/json"
    state = message.headers.get(STATE) or _state(body, content_type)
    if not isinstance(state, str) or not isinstance(id_, str):
        return None
    return ResultRecord(
        id=id_,
        state=state,
        payload=body,
        content_type=content_type,
        content_encoding=properties.content_encoding or "utf-8",
    )


def _state(body: bytes, content_type: str) -> str | None:
    if content_type == "application/json":
        found = _JSON_HEAD.match(body)
        return _status(body) if found is None else found[1].decode(errors="replace")
    found = _ELSEWHERE.search(body, 0, _HEAD_BYTES)
    return RECEIVED if found is None else found[1].decode()  # one of the user's own is not ready either


def _status(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    state = document.get("status") if isinstance(document, dict) else None
    return state if isinstance(state, str) else None
