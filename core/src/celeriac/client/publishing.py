"""From a call to messages, and from messages to the broker.

What is the same for every call of a task (headers, destination, serializer) is worked out once, in a `Template`, and
again when a setting changes. `build` is pure: it writes no store and sends no event. `send` does the rest.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from celeriac import events
from celeriac.client.arguments import bounded_repr
from celeriac.client.building import Call, Template, make_template, plain_body
from celeriac.client.context import Context, current_context
from celeriac.client.identity import new_id, new_ids, origin, process_id
from celeriac.client.options import check_call_options
from celeriac.client.result import AsyncResult
from celeriac.errors import DeadlineExceeded, StoreLost, TransportLost
from celeriac.model.message import Message

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task
    from celeriac.model.signature import Signature

__all__ = ["Publisher"]

R = TypeVar("R")

logger: logging.Logger = logging.getLogger(__name__)

_SENDING = ("timeout", "retry", "retry_policy")


class Publisher:
    """Builds and sends the messages of one app."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._revision = -1
        self._templates: dict[str, Template] = {}

    # -- building ----------------------------------------------------------------------------------

    def build(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        task: Task[..., Any] | None = None,
        parent: Context | None = None,
        **options: Any,
    ) -> Message:
        """Return the message of one call.

        Options of the call win over those of the task, these over its route's, these over the settings. `parent` is
        the run this call is made in; None looks for the current one.

        Raises: TypeError: an option that there is not, or args and kwargs of the wrong kind. ValueError: an option
        out of range. EncodeError: the arguments cannot be serialized, or are larger than `task_max_body_bytes`.
        """
        if options:
            check_call_options(options)
        return self._build(name, args, kwargs, task, parent=parent, options=options)

    def build_signature(
        self, sig: Mapping[str, Any], *, prefix_args: Sequence[Any] = (), parent: Context | None = None
    ) -> Message:
        """Return the message of a signature in wire form, `prefix_args` put in front unless it is immutable.

        Options that only the sender of the signature knows are left out: they were checked where it was made.
        """
        name = sig["task"]
        args = tuple(sig.get("args") or ())
        if prefix_args and not sig.get("immutable"):
            args = (*prefix_args, *args)
        options = {key: value for key, value in (sig.get("options") or {}).items() if value is not None}
        return self._build(name, args, sig.get("kwargs"), self._app.tasks.get(name), parent=parent, options=options)

    def _build(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        task: Task[..., Any] | None,
        *,
        parent: Context | None,
        options: dict[str, Any],
        fresh: str = "",
    ) -> Message:
        """Return the message; a plain call is given the id `fresh`, if that is one."""
        template = self._template(name, task)
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, list | tuple):
            raise TypeError(f"{name}: args must be a list or tuple, not {type(args).__name__}.")
        if type(kwargs) is not dict and not isinstance(kwargs, Mapping):
            raise TypeError(f"{name}: kwargs must be a mapping, not {type(kwargs).__name__}.")
        parent = parent or current_context()
        if options or not template.plain or parent is not None:
            return Call(self._app, template, args, kwargs, parent=parent, options=options).message()
        task_id = fresh or new_id()
        headers = template.headers.copy()
        headers["id"] = headers["root_id"] = task_id
        headers["argsrepr"] = bounded_repr(args)
        headers["kwargsrepr"] = bounded_repr(kwargs) if kwargs else "{}"
        headers["stamps"] = {}
        headers["timelimit"] = headers["timelimit"].copy()
        destination = template.destination or template.address(self._app)
        return Message(
            body=plain_body(template, args, kwargs, self._app.conf.task_max_body_bytes),
            headers=headers,
            properties={
                "correlation_id": task_id,
                "reply_to": process_id(),
                "delivery_mode": template.delivery_mode,
            },
            content_type=template.serializer.content_type,
            content_encoding=template.serializer.content_encoding,
            exchange=destination.exchange,
            routing_key=destination.routing_key,
            priority=template.priority,
        )

    def _template(self, name: str, task: Task[..., Any] | None) -> Template:
        revision = self._app.conf.revision
        if revision != self._revision:
            self._templates.clear()
            self._revision = revision
        found = self._templates.get(name)
        if found is None or found.task is not task or found.headers["origin"] != origin():
            self._app.finalize()  # what `task_annotations` say of the task counts from its first call on
            found = self._templates[name] = make_template(self._app, name, task)
        return found

    # -- sending -----------------------------------------------------------------------------------

    def send(
        self,
        messages: Sequence[Message],
        *,
        timeout: float | None = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish messages, all in one call to the broker: all of them, or none and an error.

        Where the broker cannot be reached it is tried again, with growing and jittered pauses, within `timeout`
        seconds (default `broker_timeout_seconds`) in all. If a connection breaks after the broker took the messages
        and before it said so, a second try publishes them twice.

        Where results are sent to who asked for them, the place they come to is opened first.

        Raises: TransportLost, DeadlineExceeded: it stayed out of reach; StoreLost, where that place did. Unroutable,
        StoreFull, ReadOnlyStore: not accepted, and not tried again.
        """
        if events.before_task_publish.receivers:
            for message in messages:
                events.before_task_publish.send(message.headers.get("task"), message=message)
        conf = self._app.conf
        limit = conf.broker_timeout_seconds if timeout is None else timeout
        again = conf.task_publish_retry if retry is None else retry
        policy = {**conf.task_publish_retry_policy, **(retry_policy or {})} if again else {"max_retries": 0}
        self._attempt(messages, self._app.clock.monotonic() + limit, limit, policy)
        if events.after_task_publish.receivers:
            for message in messages:
                events.after_task_publish.send(message.headers.get("task"), message=message)

    def _attempt(self, messages: Sequence[Message], end: float, limit: float, policy: Mapping[str, Any]) -> None:
        connections, clock = self._app.connections, self._app.clock
        most = policy.get("max_retries", 3)
        pause = float(policy.get("interval_start") or 0)
        tries = 0
        while True:
            transport = None
            left = end - clock.monotonic()
            try:
                if connections.replies:
                    connections.listen(messages, left)
                transport = connections.transport(min(left, self._app.conf.broker_connection_timeout))
                return transport.publish(messages, timeout=max(0.001, end - clock.monotonic()))
            except (TransportLost, StoreLost, DeadlineExceeded) as error:
                if transport is not None:
                    connections.drop(transport)
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret
                if (most is not None and tries >= most) or clock.monotonic() + wait >= end:
                    raise
                logger.warning(
                    "publishing again",
                    extra={"event": "publish_retry", "attempt": tries + 1, "wait": wait, "error": str(error)},
                )
            clock.sleep(wait)
            tries += 1
            pause = min(pause + float(policy.get("interval_step") or 0), float(policy.get("interval_max") or limit))

    # -- whole calls -------------------------------------------------------------------------------

    def call(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        task: Task[..., Any] | None,
        options: dict[str, Any],
    ) -> AsyncResult[Any]:
        """Build and send the message of one call; return its result."""
        message = self.build(name, args, kwargs, task=task, **options)
        if options:
            self.send([message], **{each: options[each] for each in _SENDING if each in options})
        else:
            self.send([message])
        return self._result(message, options)

    def call_many(
        self, calls: Sequence[tuple[Signature[R], Task[..., Any] | None]], **sending: Any
    ) -> list[AsyncResult[R]]:
        """Build the messages of signatures and send them as one batch; return their results in order."""
        messages = []
        for (each, task), fresh in zip(calls, new_ids(len(calls)), strict=True):
            options = each["options"]
            if options:
                message = self.build(each["task"], each["args"], each["kwargs"], task=task, **options)
            else:
                message = self._build(
                    each["task"], each["args"], each["kwargs"], task, parent=None, options={}, fresh=fresh
                )
            messages.append(message)
        self.send(messages, **sending)
        return [self._result(message, each["options"]) for message, (each, _) in zip(messages, calls, strict=True)]

    def _result(self, message: Message, options: Mapping[str, Any]) -> AsyncResult[Any]:
        kind = options.get("result_cls") or AsyncResult
        headers = message.headers
        result: AsyncResult[Any] = kind(headers["id"], app=self._app, task_name=headers["task"])
        if headers["ignore_result"]:
            result.ignored = True
        parent = current_context()
        if parent is not None and options.get("add_to_parent", True) and self._trails(parent):
            parent.children.append(result)
        return result

    def _trails(self, parent: Context) -> bool:
        task = self._app.tasks.get(parent.task or "")
        return task is None or task.trail
