"""The run that a task is in: `self.request`, and the stack of runs of this thread or coroutine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from celeriac.model.protocol import Embed, TaskHeaders
from celeriac.model.steps import Steps

if TYPE_CHECKING:
    from celeriac.client.result import AsyncResult
    from celeriac.model.join import Growth, Join
    from celeriac.model.message import Message
    from celeriac.model.request import Request

__all__ = ["Context", "Run", "allow_join_result", "current_context", "pop", "push"]

_NO_EMBED = Embed()
_PROTOCOL_HEADERS = frozenset(TaskHeaders.__struct_fields__) | {"argsrepr", "kwargsrepr"}


class _Header:
    """An attribute read from the header table until somebody sets it: most runs read two of twenty."""

    def __init__(self, default: Any = None, *, name: str = "") -> None:
        self.default = default
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = self.name or name

    def __get__(self, context: Context | None, owner: type | None = None) -> Any:
        if context is None:
            return self
        value = context.table.get(self.name)
        return self.default if value is None else value


class _Embedded:
    """An attribute read from the third part of the body until somebody sets it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, context: Context | None, owner: type | None = None) -> Any:
        if context is None:
            return self
        value = getattr(context.embed, self.name)
        return value.all() if isinstance(value, Steps) else value


class Context:
    """One run of a task: where it came from, and what it leaves behind.

    `table` is the message's header table; a header of the user's own is also an attribute. `followups` collects the
    messages that are published with this run's settlement, `joins` what is opened with it, `grows` the joins that then
    wait for more members, `children` the results of the tasks it started.
    """

    id: str | None = _Header()  # type: ignore[assignment]  # a descriptor that yields this type, as below
    task: str | None = _Header()  # type: ignore[assignment]
    lang: str | None = _Header()  # type: ignore[assignment]
    root_id: str | None = _Header()  # type: ignore[assignment]
    parent_id: str | None = _Header()  # type: ignore[assignment]
    group: str | None = _Header()  # type: ignore[assignment]
    group_index: int | None = _Header()  # type: ignore[assignment]
    shadow: str | None = _Header()  # type: ignore[assignment]
    eta: str | None = _Header()  # type: ignore[assignment]
    expires: str | None = _Header()  # type: ignore[assignment]
    retries: int = _Header(0)  # type: ignore[assignment]
    timelimit: list[float | None] = _Header((None, None))  # type: ignore[assignment]
    argsrepr: str | None = _Header()  # type: ignore[assignment]
    kwargsrepr: str | None = _Header()  # type: ignore[assignment]
    origin: str | None = _Header()  # type: ignore[assignment]
    ignore_result: bool = _Header(False)  # type: ignore[assignment]
    replaced_task_nesting: int = _Header(0)  # type: ignore[assignment]
    stamped_headers: list[str] | None = _Header()  # type: ignore[assignment]
    stamps: dict[str, Any] = _Header({})  # type: ignore[assignment]
    callbacks: list[dict[str, Any]] | None = _Embedded()  # type: ignore[assignment]
    errbacks: list[dict[str, Any]] | None = _Embedded()  # type: ignore[assignment]
    chain: list[dict[str, Any]] | None = _Embedded()  # type: ignore[assignment]
    chord: dict[str, Any] | None = _Embedded()  # type: ignore[assignment]

    called_directly = True
    is_eager = False
    hostname: str | None = None
    utc = True
    max_retries: int | None = None
    """What an explicit `retry(max_retries=…)` of this run said; it outlives the exception that ends the run."""
    entering: object = None
    """The task whose own `__call__` the executor is about to run, so that it opens no second run."""

    def __init__(self, table: Mapping[str, Any] | None = None, **attributes: Any) -> None:
        self.table: Mapping[str, Any] = {} if table is None else table
        self.embed = _NO_EMBED
        self.args: Any = None
        self.kwargs: Any = None
        self.delivery_info: dict[str, Any] | None = None
        self.properties: Mapping[str, Any] = {}
        self.followups: list[Message] = []
        self.joins: list[Join] = []
        self.grows: list[Growth] = []
        self.children: list[AsyncResult[Any]] = []
        if attributes:
            self.__dict__.update(attributes)

    @classmethod
    def from_message(
        cls,
        headers: Mapping[str, Any],
        args: Any,
        kwargs: Any,
        embed: Embed | None,
        *,
        hostname: str | None = None,
        delivery_info: dict[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        is_eager: bool = False,
    ) -> Context:
        """Make the context of a run that a message asks for."""
        context = cls(headers)
        context.args = args
        context.kwargs = kwargs
        if embed is not None:
            context.embed = embed
        context.hostname = hostname
        context.delivery_info = delivery_info
        context.properties = properties or {}
        context.called_directly = False
        context.is_eager = is_eager
        return context

    def __getattr__(self, name: str) -> Any:
        """Read a header of the user's own as an attribute."""
        try:
            return self.__dict__["table"][name]
        except KeyError:
            raise AttributeError(f"The request of this task has no {name!r}, and no header of that name.") from None

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute or header, or `default`."""
        return getattr(self, name, default)

    @property
    def headers(self) -> dict[str, Any] | None:
        """The headers the caller added; None when the task was called directly."""
        if self.called_directly and not self.table:
            return None
        return {name: value for name, value in self.table.items() if name not in _PROTOCOL_HEADERS}

    @property
    def time_limit(self) -> float | None:
        """The hard limit the message carries, in seconds."""
        return self.timelimit[0] if self.timelimit else None

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit the message carries, in seconds."""
        return self.timelimit[1] if self.timelimit else None

    @property
    def correlation_id(self) -> str | None:
        """What a reply is matched by: the task's id unless the message says otherwise."""
        found: str | None = self.properties.get("correlation_id", self.id)
        return found

    @property
    def reply_to(self) -> str | None:
        """Where the caller listens for a reply."""
        return self.properties.get("reply_to")

    def children_tuples(self) -> list[Any]:
        """Return the results of the tasks this run started, in the form the result document has them."""
        return [child.as_tuple() for child in self.children] if self.children else []

    def direct(self, args: Any, kwargs: Any) -> Context:
        """Return the context of a plain call made inside this run: the same task id, but called directly."""
        inner = Context(self.table, called_directly=True, hostname=self.hostname, is_eager=self.is_eager)
        inner.args = args
        inner.kwargs = kwargs
        inner.delivery_info = self.delivery_info
        inner.followups = self.followups
        inner.joins = self.joins
        inner.grows = self.grows
        inner.children = self.children
        return inner

    def as_execution_options(self) -> dict[str, Any]:
        """Return the calling options that lead to a run like this one; what `retry` starts from."""
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "time_limit": self.time_limit,
            "soft_time_limit": self.soft_time_limit,
            "headers": self.headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
            "ignore_result": self.__dict__.get("ignore_result", self.table.get("ignore_result")),
        }
        if self.stamps:
            options["stamped_headers"] = list(self.stamped_headers or self.stamps)
            options.update(self.stamps)
        return options

    def __repr__(self) -> str:
        return f"<Context {self.task}[{self.id}]>"


_making = threading.Lock()


class Run(Struct, gc=False):
    """One run under way in a worker. Its `Context` is made when somebody first asks for it: most tasks never do."""

    request: Request
    headers: TaskHeaders
    args: list[Any]
    kwargs: dict[str, Any]
    embed: Embed
    hostname: str
    start: float
    """When it began, on `time.perf_counter()`."""
    made: Context | None = None
    """The context, if anybody has asked for it; without one the run has left nothing behind."""

    @property
    def context(self) -> Context:
        """The context of this run: the same object each time, whatever thread asks."""
        if self.made is None:
            with _making:
                if self.made is None:
                    self.made = self._make()
        return self.made

    def _make(self) -> Context:
        request, message = self.request, self.request.message
        return Context.from_message(
            message.headers,
            self.args,
            self.kwargs,
            self.embed,
            hostname=self.hostname,
            properties=message.properties,
            delivery_info={
                "exchange": message.exchange,
                "routing_key": message.routing_key,
                "priority": message.priority,
                "redelivered": request.deliveries > 1,
            },
        )


_current: ContextVar[Context | Run | None] = ContextVar("celeriac_context", default=None)
_may_join: ContextVar[bool] = ContextVar("celeriac_may_join", default=False)


def current_context() -> Context | None:
    """Return the innermost run of this thread or coroutine; None outside tasks."""
    found = _current.get()
    if found is None:  # asking whether it is a Run is quick only if it is one
        return None
    return found.context if isinstance(found, Run) else found


def push(context: Context | Run) -> Token[Context | Run | None]:
    """Enter a run; give the token to `pop`."""
    return _current.set(context)


def pop(token: Token[Context | Run | None]) -> None:
    """Leave the run that `push` entered."""
    _current.reset(token)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let the code inside wait for results although it runs in a task.

    A task that waits holds a slot: if every slot waits for tasks that have none, all wait for ever.
    """
    token = _may_join.set(True)
    try:
        yield
    finally:
        _may_join.reset(token)


def may_join() -> bool:
    """Whether waiting for a result is allowed here: outside tasks, in eager ones, or where it was allowed."""
    context = current_context()
    return context is None or context.called_directly or context.is_eager or _may_join.get()
