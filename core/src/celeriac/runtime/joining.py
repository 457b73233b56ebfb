"""What the message of a complete join leads to: its body, given the list of what the members returned.

Every worker knows this task, and no user calls it. It settles like any other, so a body is published with the closing
of its join: redelivered, it finds the join closed and does nothing.

A worker of Celery's that counts the last member of a join publishes the same task, given the values, or as an error
callback; it has removed what they gave, or left it where one failed. What is to be published then is in the store.

The payload of each part says whose it is and what became of the task, also of those that Celery's workers gave. A
client of Celery's saves the group of a chord whose members end with groups: then the list has lists where it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from celeriac.client.canvas.planning import NOTHING, Planner
from celeriac.client.canvas.policies import policy
from celeriac.client.context import Context
from celeriac.errors import ChordError
from celeriac.model.document import exception_from_data, safe_repr
from celeriac.model.join import Part
from celeriac.model.outcome import Outcome
from celeriac.model.protocol import check_headers
from celeriac.model.record import FAILURE, GROUP_PREFIX, REVOKED, SUCCESS
from celeriac.runtime.failures import Consequences, Failures
from celeriac.spi.results import Chords, Joins

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.model.message import Message
    from celeriac.model.request import Request
    from celeriac.runtime.executor import BodyReader

__all__ = ["JoinRun"]


class JoinRun:
    """Runs the messages of complete joins."""

    is_async = False

    def __init__(self, app: Celeriac, bodies: BodyReader, failures: Failures, hostname: str) -> None:
        self._app = app
        self._bodies = bodies
        self._failures = failures
        self._hostname = hostname
        self._timeout: float = app.conf.result_timeout_seconds

    def call(self, request: Request, parts_of: Callable[[str], list[Part]] | None = None) -> Outcome:
        """Run the body of a join, or end it where members failed; `parts_of` tells what they gave, else the store."""
        start = time.perf_counter()
        message = request.message
        args, kwargs, embed = self._bodies.read(message, request.headers or check_headers(message.headers))
        counted = None if isinstance(args[-1], Mapping) else args
        if counted is not None:
            opened = self._message(counted[-1])
            if opened is None:
                return Outcome(key=request.key, state=SUCCESS, runtime=time.perf_counter() - start)
            args, kwargs, embed = self._bodies.read(opened, check_headers(opened.headers))
            message = replace(opened, headers={**opened.headers, "parent_id": message.headers.get("parent_id")})
        id_, body = args
        if counted is not None and len(counted) > 1:
            last = message.headers["parent_id"] or ""
            given = [(_succeeded(id_, place, last), value) for place, value in enumerate(counted[0])]
        else:
            given = [self._read(part) for part in (parts_of or self._stored)(id_)]
        if not given:
            return Outcome(key=request.key, state=SUCCESS, runtime=time.perf_counter() - start)
        parts = [part for part, _ in given]
        headers = _descent(message.headers, parts[-1].member)
        context = Context.from_message(headers, args, kwargs, embed, hostname=self._hostname)
        succeeded = policy(body.get("join")).succeeded(parts)
        if succeeded is not None:
            planner = Planner(self._app, context)
            values = [value for part, value in given if part.succeeded]
            if "join" not in body:
                values = self._arranged(id_, {part.member: value for part, value in given}) or values
            planner.run(body, (values,))
            return Outcome(
                key=request.key,
                state=SUCCESS,
                followups=tuple(planner.plan.messages),
                joins=tuple(planner.plan.joins),
                closes=(id_,),
                runtime=time.perf_counter() - start,
            )
        failed = next(each for each in given if not each[0].succeeded)
        told = self._fail(body, failed, context, request.queue)
        return Outcome(
            key=request.key,
            state=SUCCESS,
            records=told.records,
            followups=told.followups,
            parts=told.parts,
            closes=(id_,),
            runtime=time.perf_counter() - start,
        )

    def _stored(self, id_: str) -> list[Part]:
        results = self._app.connections.results()
        assert isinstance(results, Joins)  # noqa: S101  this store opened the join
        return results.parts(id_, timeout=self._timeout)

    def _message(self, id_: str) -> Message | None:
        results = self._app.connections.results()
        assert isinstance(results, Chords)  # noqa: S101  where Celery's workers have counted
        return results.message(id_, timeout=self._timeout)

    def _read(self, part: Part) -> tuple[Part, Any]:
        """Return a part as its payload says, and the value in it."""
        serializer = self._app.codecs.serializer(self._app.conf.result_serializer)
        _, id_, state, value = serializer.loads(part.payload)
        return replace(part, member=id_, succeeded=state not in (FAILURE, REVOKED)), value

    def _arranged(self, id_: str, values: Mapping[str, Any]) -> list[Any] | None:
        """Return the values as the groups in the group are nested; None where it was not saved, so that none is."""
        key = GROUP_PREFIX + id_
        record = self._app.connections.results().get([key], timeout=self._timeout).get(key)
        if record is None:
            return None
        saved = self._app.codecs.loads(record.payload, record.content_type, record.content_encoding)
        try:
            listed: list[Any] = _nested(saved["result"], values)
        except KeyError:  # it names a task that gave nothing: what others gave is still worth more than nothing
            return None
        return listed

    def _fail(self, body: Mapping[str, Any], failed: tuple[Part, Any], context: Context, queue: str) -> Consequences:
        """End everything that the body would have begun, as failed by a member of its header."""
        part, data = failed
        cause = exception_from_data(data)
        error = ChordError(f"Dependency {part.member} raised {safe_repr(cause)}")
        planner = Planner(self._app, context)
        planner.run(body, ([],), NOTHING)
        told = [self._failures.consequences(each, queue, FAILURE, error) for each in planner.plan.messages]
        for join in planner.plan.joins:
            (_, inner), _, _ = self._bodies.read(join.message, check_headers(join.message.headers))
            told.append(self._fail(inner, failed, context, queue))
        return Consequences(
            records=tuple(record for each in told for record in each.records),
            followups=tuple(message for each in told for message in each.followups),
            parts=tuple(part for each in told for part in each.parts),
        )


def _succeeded(join: str, place: int, member: str) -> Part:
    """Return the part of a member of which Celery's worker told nothing but the value."""
    return Part(join=join, member=member, place=place, succeeded=True, payload=b"")


def _descent(headers: Mapping[str, Any], last: str) -> Mapping[str, Any]:
    """Return headers by which what follows is a child of the last member, and not of a message that nobody knows."""
    root = headers.get("root_id")
    return {**headers, "id": last, "root_id": last if root == headers["id"] else root}


def _nested(result: Sequence[Any], values: Mapping[str, Any]) -> Any:
    """Return the value of a result, as `as_tuple` has it; the list of those of its members, if it is of a group."""
    (id_, _), members = result
    return values[id_] if members is None else [_nested(member, values) for member in members]
