"""Turn the end of a run into the record that the result store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.client.canvas.planning import LIST_TASK, join_message
from celeriac.errors import EncodeError
from celeriac.model.document import exception_data, now_text, result_document, safe_repr
from celeriac.model.join import UNPLACED, Part
from celeriac.model.protocol import Embed, TaskHeaders
from celeriac.model.record import IGNORED, STARTED, SUCCESS, ResultRecord

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.model.message import Message
    from celeriac.spi.serializer import Serializer

__all__ = ["Recorder", "ends_of", "plain_text"]

_quoted = msgspec.json.Encoder().encode


class Recorder:
    """Makes result records in the result serializer's bytes. Reads its settings once."""

    def __init__(self, app: Celeriac, hostname: str) -> None:
        self._app = app
        self._codecs = app.codecs
        self._serializer: str = app.conf.result_serializer
        self._found: Serializer | None = None
        self._expires: float | None = app.conf.result_expires or None
        self.extends: bool = app.conf.result_extended
        """Whether documents say more than what became of the task (`result_extended`)."""
        self._hostname = hostname
        self._replies: bool = app.connections.replies

    def success(
        self,
        headers: TaskHeaders,
        value: Any,
        children: Sequence[Any] = (),
        *,
        message: Message | None = None,
        extended: dict[str, Any] | None = None,
    ) -> ResultRecord:
        """Record a returned value. `message` is the task's, which says where the caller listens.

        Raises: EncodeError: the result serializer cannot write it.
        """
        serializer = self._found
        if serializer is None:
            serializer = self._found = self._codecs.serializer(self._serializer)
        if children or extended or not serializer.joins:
            return self._record(headers, SUCCESS, value, message=message, children=children, extended=extended)
        return ResultRecord(
            id=headers.id,
            state=SUCCESS,
            payload=_success_document(headers, b"null" if value is None else serializer.dumps(value)),
            content_type=serializer.content_type,
            content_encoding=serializer.content_encoding,
            expires_seconds=self._expires,
            reply_to=reply_to(message) if self._replies else "",
        )

    def exception(
        self,
        headers: TaskHeaders,
        state: str,
        error: BaseException,
        *,
        message: Message | None = None,
        traceback: str | None = None,
        children: Sequence[Any] = (),
        extended: dict[str, Any] | None = None,
    ) -> ResultRecord:
        """Record an exception under a state; arguments of it that cannot be written become their `repr`."""
        data = exception_data(error)
        try:
            return self._record(
                headers, state, data, message=message, traceback=traceback, children=children, extended=extended
            )
        except EncodeError:
            data["exc_message"] = [_plain(argument) for argument in data["exc_message"]]
            return self._record(headers, state, data, message=message, traceback=_plain(traceback), children=children)

    def later_steps(
        self, headers: TaskHeaders, embed: Embed, state: str, error: BaseException, message: Message | None = None
    ) -> list[ResultRecord]:
        """Record the end of a task for the later steps of its chain too, which will never run.

        Who waits for the task waits for them: they go to the same caller.
        """
        ids = [id_ for step in embed.chain or () for id_ in ends_of(step)]
        later = [TaskHeaders(task=headers.task, id=id_, parent_id=headers.id) for id_ in ids]
        return [self.exception(step, state, error, message=message) for step in later]

    def part(self, headers: TaskHeaders, state: str, value: Any, chord: Mapping[str, Any] | None = None) -> Part:
        """Return what a member of a join gives to it: `[1, id, state, value]`, as Celery's chords have it.

        `chord` is the body as the member's message has it: that of a Celery client's chord comes with the part.

        Raises: EncodeError: the result serializer cannot write the value.
        """
        succeeded = state in (SUCCESS, IGNORED)
        given = value if succeeded else exception_data(value)
        try:
            payload, _, _ = self._codecs.dumps([1, headers.id, state, given], self._serializer)
        except EncodeError:
            if succeeded:
                raise
            given["exc_message"] = [_plain(argument) for argument in given["exc_message"]]
            payload, _, _ = self._codecs.dumps([1, headers.id, state, given], self._serializer)
        group, place = headers.group or "", headers.group_index or 0
        if chord is None or "join" in chord:
            return Part(join=group, member=headers.id, place=place, succeeded=succeeded, payload=payload)
        return Part(
            join=group,
            member=headers.id,
            place=UNPLACED if headers.group_index is None else place,
            succeeded=succeeded,
            payload=payload,
            message=join_message(self._app, group, chord, root_id=headers.root_id, parent_id=headers.id),
            expires_seconds=self._expires,
        )

    def later_parts(self, headers: TaskHeaders, embed: Embed, state: str, error: BaseException | None) -> list[Part]:
        """Return the part that the last step of a chain would have given, had the chain gone on.

        Several where a client of Celery's counts each member of the group that it ends with.
        """
        if not embed.chain:
            return []
        last = _last_of(embed.chain[0])
        options = last.get("options") or {}
        chord, group, ends = options.get("chord"), options.get("group_id"), ends_of(last)
        if not chord or not group or not ends:
            return []
        place = options.get("group_index")
        members = [TaskHeaders(task=headers.task, id=id_, group=group, group_index=place) for id_ in ends]
        return [self.part(member, state, error, chord) for member in (members[:1] if "join" in chord else members)]

    def started(self, headers: TaskHeaders, pid: int, message: Message | None = None) -> ResultRecord:
        """Record that a task runs, where."""
        return self._record(headers, STARTED, {"pid": pid, "hostname": self._hostname}, message=message)

    def extended(self, headers: TaskHeaders, queue: str, args: Any, kwargs: Any) -> dict[str, Any] | None:
        """Return what `result_extended` adds to a document, or None where it is off."""
        if not self.extends:
            return None
        stamps = {"stamped_headers": headers.stamped_headers, **(headers.stamps or {})} if headers.stamps else {}
        return {
            "name": headers.task,
            "args": args,
            "kwargs": kwargs,
            "worker": self._hostname,
            "retries": headers.retries,
            "queue": queue,
            **stamps,
        }

    def _record(
        self,
        headers: TaskHeaders,
        state: str,
        result: Any,
        *,
        message: Message | None = None,
        traceback: str | None = None,
        children: Sequence[Any] = (),
        extended: dict[str, Any] | None = None,
    ) -> ResultRecord:
        document = result_document(
            task_id=headers.id,
            state=state,
            result=result,
            traceback=traceback,
            children=children,
            group_id=headers.group,
            parent_id=headers.parent_id,
            extended=extended,
        )
        payload, content_type, content_encoding = self._codecs.dumps(document, self._serializer)
        return ResultRecord(
            id=headers.id,
            state=state,
            payload=payload,
            content_type=content_type,
            content_encoding=content_encoding,
            expires_seconds=self._expires,
            reply_to=reply_to(message) if self._replies else "",
        )


def reply_to(message: Message | None) -> str:
    """Return where the caller of a task listens for its result; empty where nobody does."""
    return "" if message is None else message.properties.get("reply_to") or ""


def _success_document(headers: TaskHeaders, value: bytes) -> bytes:
    """Return what `result_document` would be as JSON, with no children and nothing extended, put together at once."""
    family = b""
    if headers.group is not None:
        family = b'"group_id":' + _quoted(headers.group) + b","
    if headers.parent_id is not None:
        family += b'"parent_id":' + _quoted(headers.parent_id) + b","
    return b"".join(
        (
            b'{"status":"SUCCESS","result":',
            value,
            b',"traceback":null,"children":[],"date_done":"',
            now_text().encode(),
            b'",',
            family,
            b'"task_id":',
            _quoted(headers.id),
            b"}",
        )
    )


def ends_of(step: Mapping[str, Any]) -> list[str]:
    """Return the ids of the tasks that a step in wire form ends with: its own, or those of a group's members."""
    kind, kwargs = step.get("subtask_type"), step.get("kwargs") or {}
    match kind:
        case "group":
            return [id_ for member in kwargs["tasks"] for id_ in ends_of(member)]
        case "chain" if kwargs["tasks"]:
            return ends_of(kwargs["tasks"][-1])
        case "chord" if kwargs["body"]:
            # A group that is counted as one is such a chord too.
            listed = kwargs["header"] if kwargs["body"]["task"] == LIST_TASK else ()
            members = listed["kwargs"]["tasks"] if isinstance(listed, Mapping) else listed
            return [*ends_of(kwargs["body"]), *(id_ for member in members for id_ in ends_of(member))]
    id_ = (step.get("options") or {}).get("task_id")
    return [id_] if id_ else []


def _last_of(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a step in wire form ends with: itself, or that of its steps for which something waits."""
    kind, kwargs = step.get("subtask_type"), step.get("kwargs") or {}
    if (step.get("options") or {}).get("chord"):
        return step
    if kind == "chord" and kwargs["body"]:
        return _last_of(kwargs["body"])
    return _last_of(kwargs["tasks"][-1]) if kind == "chain" and kwargs["tasks"] else step


def plain_text(text: str) -> str:
    """Return a text that every serializer and store can write: lone surrogates escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: Any) -> Any:
    if value is None:
        return None
    return plain_text(value if isinstance(value, str) else safe_repr(value))
