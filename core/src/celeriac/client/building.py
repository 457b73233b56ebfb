"""What a call becomes: the part that all messages of a task share, and the long way of a call with options."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from celeriac.client.arguments import bounded_repr
from celeriac.client.context import Context
from celeriac.client.identity import new_id, origin, process_id
from celeriac.client.options import ADDRESS_OPTIONS, check_call_options, check_limits, moment_of
from celeriac.client.router import Destination
from celeriac.client.serialization import compress
from celeriac.errors import EncodeError
from celeriac.model.message import Message
from celeriac.model.protocol import task_headers
from celeriac.model.steps import Steps
from celeriac.model.wireform import signatures
from celeriac.spi.serializer import Serializer

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

__all__ = ["NOTHING_FOLLOWS", "Call", "Template", "make_template", "plain_body"]

logger: logging.Logger = logging.getLogger(__name__)

NOTHING_FOLLOWS: dict[str, None] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_TRANSIENT = (1, "transient")


class Template(Struct):
    """What every message of one task has in common. `options` holds the weaker options: route and task."""

    name: str
    task: Task[..., Any] | None
    options: dict[str, Any]
    headers: dict[str, Any]
    serializer: Serializer
    compression: str | None
    delivery_mode: int
    priority: int
    plain: bool
    """Whether a call without options needs nothing beyond this template."""
    destination: Destination | None = None
    """Where calls go that do not say it themselves; looked up by the first of them, for it may not exist."""

    def address(self, app: Celeriac) -> Destination:
        """Return where calls go that do not say it themselves."""
        if self.destination is None:
            self.destination = app.router.destination(self.options)
        return self.destination


def make_template(app: Celeriac, name: str, task: Task[..., Any] | None) -> Template:
    """Work out what the messages of a task have in common, from its options, its route and the settings."""
    conf = app.conf
    own = task.execution_options() if task is not None else {}
    dynamic = app.router.dynamic
    options = {**({} if dynamic else app.router.route(name)), **own}
    check_call_options({key: value for key, value in options.items() if key not in ADDRESS_OPTIONS})
    check_limits(options.get("time_limit"), options.get("soft_time_limit"), name)
    priority = options.get("priority", conf.task_default_priority)
    known = {"queue", "exchange", "exchange_type", "routing_key", "serializer", "compression", "delivery_mode"}
    plain = not (options.keys() - known - {"priority", "time_limit", "soft_time_limit"})
    compression = options.get("compression", conf.task_compression)
    # Who knows only a task's name leaves it to the worker, which knows the task.
    ignored = task.ignore_result if task is not None else conf.task_ignore_result or None
    mode = options.get("delivery_mode", conf.task_default_delivery_mode)
    return Template(
        name=name,
        task=task,
        options=options,
        headers=task_headers(
            task=name,
            id="",
            origin=origin(),
            argsrepr="()",
            kwargsrepr="{}",
            timelimit=(options.get("time_limit"), options.get("soft_time_limit")),
            ignore_result=ignored,
        ),
        serializer=app.codecs.serializer(options.get("serializer") or conf.task_serializer),
        compression=compression,
        delivery_mode=1 if mode in _TRANSIENT else 2,
        priority=priority or 0,
        plain=plain and not dynamic and not compression and not (task is not None and task.names_shadows),
    )


_NOTHING_FOLLOWS_JSON = b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


def plain_body(template: Template, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int) -> bytes:
    """Return the bytes of a body that nothing follows, put together of parts where the serializer allows that.

    Raises: EncodeError: as `encode_body`.
    """
    serializer = template.serializer
    if kwargs or not serializer.joins:
        return encode_body(serializer, [args, kwargs, NOTHING_FOLLOWS], template.name, limit)
    data = b"[" + (serializer.dumps(args) if args else b"[]") + b",{}" + _NOTHING_FOLLOWS_JSON
    if len(data) > limit:
        raise _too_large(template.name, len(data), limit)
    return data


def encode_body(serializer: Serializer, body: list[Any], name: str, limit: int) -> bytes:
    """Return the bytes of a body; EncodeError if there are more than `limit`."""
    data = serializer.dumps(body)
    if len(data) > limit:
        raise _too_large(name, len(data), limit)
    return data


def _too_large(name: str, size: int, limit: int) -> EncodeError:
    return EncodeError(
        f"{name}: the arguments take {size} bytes, more than `task_max_body_bytes` ({limit})."
        " Store them elsewhere and pass where."
    )


class Call:
    """One call with options, or made inside a task: the long way to its message."""

    def __init__(
        self,
        app: Celeriac,
        template: Template,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        parent: Context | None,
        options: dict[str, Any],
    ) -> None:
        self.app = app
        self.template = template
        self.args = args
        self.kwargs = kwargs
        self.parent = parent
        given = {name: value for name, value in options.items() if value is not None}
        if app.router.dynamic or not ADDRESS_OPTIONS.isdisjoint(given):
            self.options: dict[str, Any] = {**self._route(given), **given}
            self.destination: Destination = app.router.destination(self.options)
        else:
            self.options = {**template.options, **given}
            self.destination = template.address(app)

    def _route(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the weaker options of a call whose route is not the template's."""
        template = self.template
        own = template.task.execution_options() if template.task is not None else {}
        route = self.app.router.route(
            given.get("route_name") or template.name,
            self.args,
            self.kwargs,
            {**own, **given},
            template.task,
            router=given.get("router"),
        )
        return {**route, **own}

    def message(self) -> Message:
        """Return the message.

        Raises: what `Publisher.build` says.
        """
        options, template = self.options, self.template
        task_id = options.get("task_id") or new_id()
        now = self.app.clock.time()
        eta, due = self._eta(now)
        expires, expiry = self._expires(now)
        serializer = (
            self.app.codecs.serializer(options["serializer"]) if "serializer" in options else template.serializer
        )
        headers = self._headers(task_id, eta, expires)
        body = self._body(serializer, self.app.conf.task_max_body_bytes)
        compression = options.get("compression", template.compression)
        if compression:
            body, headers["compression"] = compress(body, compression)
        mode = options.get("delivery_mode", template.delivery_mode)
        return Message(
            body=body,
            headers=headers,
            properties={
                "correlation_id": task_id,
                "reply_to": options.get("reply_to") or process_id(),
                "delivery_mode": 1 if mode in _TRANSIENT else 2,
                **(options.get("properties") or {}),
            },
            content_type=serializer.content_type,
            content_encoding=serializer.content_encoding,
            exchange=self.destination.exchange,
            routing_key=self.destination.routing_key,
            priority=self._priority(),
            due=due,
            expires=expiry,
        )

    def _eta(self, now: float) -> tuple[str | None, float | None]:
        countdown, eta = self.options.get("countdown"), self.options.get("eta")
        value = countdown or eta
        if not value:
            return None, None
        option = "countdown" if countdown else "eta"
        moment = moment_of(value, now=now, zone=self.app.timezone, option=option)
        return self.app.in_wire_zone(moment).isoformat(), moment.timestamp()

    def _expires(self, now: float) -> tuple[str | None, float | None]:
        value = self.options.get("expires")
        if value is None:
            ttl = self.options.get("expiration")
            return None, None if ttl is None else now + ttl
        moment = moment_of(value, now=now, zone=self.app.timezone, option="expires")
        if moment.timestamp() <= now:
            logger.warning(
                "task expires before it starts", extra={"event": "expired_at_publish", "task": self.template.name}
            )
        return self.app.in_wire_zone(moment).isoformat(), moment.timestamp()

    def _priority(self) -> int:
        options, parent = self.options, self.parent
        priority = options.get("priority")
        if priority is None and parent is not None and self.app.conf.task_inherit_parent_priority:
            priority = (parent.delivery_info or {}).get("priority")
        priority = self.template.priority if priority is None else priority
        if not isinstance(priority, int) or not 0 <= priority <= 255:
            raise ValueError(f"{self.template.name}: priority must be 0 to 255, not {priority!r}.")
        return priority

    def _body(self, serializer: Serializer, limit: int) -> bytes:
        """Return the bytes of the body, with the later steps of a chain as they are where they were written before."""
        chain = self.options.get("chain")
        written = chain.written(serializer.content_type) if isinstance(chain, Steps) and serializer.joins else None
        if written is None:
            return encode_body(serializer, [self.args, self.kwargs, self._embed()], self.template.name, limit)
        options, kwargs = self.options, self.kwargs
        links = [signatures(options.get("link")), signatures(options.get("link_error"))]
        chord = options.get("chord")
        callbacks, errbacks, join = (serializer.dumps(each) if each else b"null" for each in (*links, chord))
        data = b'[%b,%b,{"callbacks":%b,"errbacks":%b,"chain":%b,"chord":%b}]' % (
            serializer.dumps(self.args),
            serializer.dumps(kwargs) if kwargs else b"{}",
            callbacks,
            errbacks,
            written,
            join,
        )
        if len(data) > limit:
            raise _too_large(self.template.name, len(data), limit)
        return data

    def _embed(self) -> dict[str, Any]:
        options = self.options
        chain, chord = options.get("chain"), options.get("chord")
        return {
            "callbacks": signatures(options.get("link")),
            "errbacks": signatures(options.get("link_error")),
            "chain": [dict(step) for step in chain] if chain else None,
            "chord": dict(chord) if chord else None,
        }

    def _headers(self, task_id: str, eta: str | None, expires: str | None) -> dict[str, Any]:
        options, template, parent = self.options, self.template, self.parent
        hard, soft = options.get("time_limit"), options.get("soft_time_limit")
        check_limits(hard, soft, template.name)
        stamped = options.get("stamped_headers")
        headers = template.headers.copy()
        headers["id"] = task_id
        headers["shadow"] = options.get("shadow") or self._shadow()
        headers["eta"] = eta
        headers["expires"] = expires
        headers["group"] = options.get("group_id")
        headers["group_index"] = options.get("group_index")
        headers["retries"] = options.get("retries", 0)
        headers["timelimit"] = [hard, soft]
        headers["root_id"] = options.get("root_id") or (parent and (parent.root_id or parent.id)) or task_id
        headers["parent_id"] = options.get("parent_id") or (parent and parent.id)
        headers["argsrepr"] = options.get("argsrepr") or bounded_repr(self.args)
        headers["kwargsrepr"] = options.get("kwargsrepr") or bounded_repr(self.kwargs)
        headers["origin"] = options.get("origin") or headers["origin"]
        if "ignore_result" in options:
            headers["ignore_result"] = bool(options["ignore_result"])
        headers["replaced_task_nesting"] = options.get("replaced_task_nesting", 0)
        headers["stamped_headers"] = list(stamped) if stamped else None
        headers["stamps"] = {name: options.get(name) for name in stamped or ()}
        headers.update(options.get("headers") or {})
        return headers

    def _shadow(self) -> str | None:
        task = self.template.task
        if task is None or not task.names_shadows:
            return None
        return task.shadow_name(self.args, self.kwargs, self.options)
