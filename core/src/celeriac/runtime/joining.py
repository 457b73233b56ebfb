"""What the message of a complete join leads to: its body, given the list of what the members returned.

Every worker knows this task, and no user calls it. It settles like any other, so a body is published with the closing
of its join: redelivered, it finds the join closed and does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeriac.client.canvas.planning import NOTHING, Planner
from celeriac.client.canvas.policies import policy
from celeriac.client.context import Context
from celeriac.errors import ChordError
from celeriac.model.document import exception_from_data, safe_repr
from celeriac.model.join import Part
from celeriac.model.outcome import Outcome
from celeriac.model.protocol import check_headers
from celeriac.model.record import FAILURE, SUCCESS
from celeriac.runtime.failures import Consequences, Failures
from celeriac.spi.results import Joins

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
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
        id_, body = args
        parts = (parts_of or self._stored)(id_)
        if not parts:
            return Outcome(key=request.key, state=SUCCESS, runtime=time.perf_counter() - start)
        context = Context.from_message(message.headers, args, kwargs, embed, hostname=self._hostname)
        succeeded = policy(body.get("join")).succeeded(parts)
        if succeeded is not None:
            planner = Planner(self._app, context)
            planner.run(body, ([self._value(part) for part in succeeded],))
            return Outcome(
                key=request.key,
                state=SUCCESS,
                followups=tuple(planner.plan.messages),
                joins=tuple(planner.plan.joins),
                closes=(id_,),
                runtime=time.perf_counter() - start,
            )
        failed = next(part for part in parts if not part.succeeded)
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

    def _value(self, part: Part) -> Any:
        return self._decoded(part)[3]

    def _decoded(self, part: Part) -> Sequence[Any]:
        serializer = self._app.codecs.serializer(self._app.conf.result_serializer)
        found: Sequence[Any] = serializer.loads(part.payload)
        return found

    def _fail(self, body: Mapping[str, Any], failed: Part, context: Context, queue: str) -> Consequences:
        """End everything that the body would have begun, as failed by a member of its header."""
        _, id_, _, data = self._decoded(failed)
        cause = exception_from_data(data)
        error = ChordError(f"Dependency {id_} raised {safe_repr(cause)}")
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
