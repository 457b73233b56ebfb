"""Where a task's messages go: routes to options, options to an exchange and a routing key, and which queues exist.

1. The first router in `task_routes` that answers for a task gives it options, usually a queue.
2. Options of the task and of the call win over these, one by one.
3. A queue that is reached by its name alone gets the message directly; only a queue on a topic or fanout exchange,
   or an explicit exchange and routing key, uses an exchange.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct
from msgspec.structs import replace

from celeriac.config.queues import as_exchange, as_queue, from_options, is_queue
from celeriac.errors import ConfigurationError, InvalidSetting, QueueNotFound, nearest
from celeriac.model.routing import Exchange, ExchangeType, Queue, by_name

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.task import Task

__all__ = ["Destination", "Router"]

Route = Callable[..., Any]
"""Called with name, args, kwargs, options and task; returns options, the name of a queue, or None."""


class Destination(Struct, frozen=True):
    """Where a message goes. `queue` is the definition it was found by, if any."""

    exchange: str
    routing_key: str
    queue: Queue | None = None


class _Table:
    """A router made of a mapping: exact names first, then patterns in their order."""

    def __init__(self, entries: Iterable[tuple[Any, Any]]) -> None:
        self.exact: dict[str, Any] = {}
        self.patterns: list[tuple[re.Pattern[str], Any]] = []
        for pattern, route in entries:
            if isinstance(pattern, re.Pattern):
                self.patterns.append((pattern, route))
            elif any(sign in pattern for sign in "*?["):
                self.patterns.append((re.compile(translate(pattern)), route))
            else:
                self.exact[pattern] = route

    def __call__(self, name: str) -> Any:
        if name in self.exact:
            return self.exact[name]
        return next((route for pattern, route in self.patterns if pattern.match(name)), None)


class Router:
    """The routes and queues of one app, as its settings had them when it was made.

    `revision` grows when a queue is created: who declares queues compares it with what they have declared.
    """

    def __init__(self, app: Celeriac) -> None:
        conf = app.conf
        self._conf = conf
        self._exchange_type = cast("ExchangeType", conf.task_default_exchange_type)
        self.queues: dict[str, Queue] = by_name(self._defined(conf.task_queues))
        self._defined_names = list(self.queues)
        self.revision: int = len(self.queues)
        self._routers = _routers(conf.task_routes)
        self.dynamic: bool = any(not isinstance(router, _Table) for router in self._routers)
        """Whether a route can depend on more than the task's name."""

    # -- queues ------------------------------------------------------------------------------------

    def _defined(self, given: Any) -> list[Queue]:
        conf = self._conf
        if given is None:
            name = conf.task_default_queue
            key, arguments = conf.task_default_routing_key or name, _of_type(conf.task_default_queue_type)
            return [self._complete(Queue(name, None, key, arguments=arguments))]
        if isinstance(given, Mapping):
            return [self._complete(_defined_as(name, options)) for name, options in given.items()]
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InvalidSetting("task_queues", given, "a list of Queue objects or names, or {name: options}")
        return [self._complete(as_queue(each)) for each in given]

    def _default_exchange(self, name: str) -> Exchange:
        """Return the exchange of a queue without one: the default one, or one of the queue's name."""
        given = self._conf.task_default_exchange
        return as_exchange(given or name, self._exchange_type, setting="task_default_exchange")

    def _complete(self, queue: Queue) -> Queue:
        """Give a queue without an exchange the default kind of one, and the general highest priority."""
        priority = self._conf.task_queue_max_priority if queue.max_priority is None else queue.max_priority
        exchange = queue.exchange or self._default_exchange(queue.name)
        return replace(queue, exchange=exchange, routing_key=queue.key, max_priority=priority)

    def queue(self, queue: Any) -> Queue:
        """Return the definition of a queue, given by its name or as an object of ours or kombu's; created if need be.

        Raises: QueueNotFound: there is none, and `task_create_missing_queues` is off.
        """
        name = queue if isinstance(queue, str) else as_queue(queue, setting="queue").name
        found = self.queues.get(name)
        if found is not None:
            return found
        if isinstance(queue, str):
            if not self._conf.task_create_missing_queues:
                raise QueueNotFound(name, self.queues)
            # Direct as in Celery, whatever the default exchange is: two sides that differ could not share the queue.
            kind = cast("ExchangeType", self._conf.task_create_missing_queue_exchange_type or "direct")
            arguments = _of_type(self._conf.task_create_missing_queue_type)
            queue = Queue(name, Exchange(name, kind), arguments=arguments)
        found = self.queues.setdefault(name, self._complete(as_queue(queue, setting="queue")))
        self.revision = len(self.queues)
        return found

    def queues_to_consume(
        self, select: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> list[Queue]:
        """Return the queues a worker takes tasks from: those of `select`, or all that are defined, less `exclude`.

        Raises: QueueNotFound: as `queue`. ConfigurationError: nothing is left.
        """
        names = list(select) if select else self._defined_names
        unwanted = set(exclude or ())
        missing = unwanted - set(names)
        if missing:
            name = min(missing)
            raise ConfigurationError(f"Queue {name!r} is excluded but was not going to be read.{nearest(name, names)}")
        chosen = [self.queue(name) for name in dict.fromkeys(names) if name not in unwanted]
        if not chosen:
            raise ConfigurationError("No queue is left to take tasks from. Name one with -Q, or exclude fewer.")
        return chosen

    # -- routes ------------------------------------------------------------------------------------

    def route(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task: Task[..., Any] | None = None,
        *,
        router: Any = None,
    ) -> Mapping[str, Any]:
        """Return the options that the first router with an answer gives a task; empty if none has one."""
        routers = self._routers if router is None else _routers(router)
        for each in routers:
            answer = (
                each(name) if isinstance(each, _Table) else each(name, args, kwargs or {}, options or {}, task=task)
            )
            if answer is not None:
                return _as_options(answer, name)
        return {}

    def destination(self, options: Mapping[str, Any]) -> Destination:
        """Return where a message with these options goes."""
        exchange = options.get("exchange")
        key = options.get("routing_key")
        named = options.get("queue")
        if exchange is not None and not isinstance(exchange, str):
            exchange = as_exchange(exchange, setting="exchange").name
        if named is None and exchange:
            return Destination(exchange, key or self._conf.task_default_routing_key or self._conf.task_default_queue)
        queue = self.queue(named or self._conf.task_default_queue)
        target = queue.exchange or Exchange()
        if target.type == "direct" and not (exchange and key):
            return Destination("", queue.name, queue)
        return Destination(exchange or target.name, key or queue.key, queue)


def _of_type(queue_type: str | None) -> dict[str, Any]:
    """Return the arguments of a queue of this type: as Celery, a classic one has none."""
    return {"x-queue-type": queue_type} if queue_type == "quorum" else {}


def _defined_as(name: str, given: Any) -> Queue:
    """Return a queue of the mapping form, whose value is its options or a queue."""
    return replace(as_queue(given), name=name) if is_queue(given) else from_options(name, given)


def _as_options(answer: Any, name: str) -> Mapping[str, Any]:
    if isinstance(answer, str) or is_queue(answer):
        return {"queue": answer}
    if isinstance(answer, Mapping):
        return answer
    raise InvalidSetting("task_routes", answer, f"options, a queue's name or None as the route of {name!r}")


def _routers(given: Any) -> list[Any]:
    """Turn the setting into routers. A list holds pairs of pattern and route, or routers of any form."""
    if given is None:
        return []
    if isinstance(given, str):
        return _routers(_imported(given))
    if isinstance(given, Mapping):
        return [_Table(given.items())]
    if isinstance(given, list | tuple):
        pairs = bool(given) and all(_is_pair(each) for each in given)
        return [_Table(given)] if pairs else [router for each in given for router in _routers(each)]
    if hasattr(given, "route_for_task") or callable(given):
        return [_ByObject(given) if hasattr(given, "route_for_task") else given]
    raise InvalidSetting(
        "task_routes", given, "a mapping, a function, its path, an object with `route_for_task`, or a list"
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | re.Pattern)


class _ByObject:
    def __init__(self, router: Any) -> None:
        self.router = router

    def __call__(self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:  # noqa: ARG002  a router's signature
        return self.router.route_for_task(name, args, kwargs)


def _imported(path: str) -> Any:
    module, _, attribute = path.replace(":", ".").rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidSetting("task_routes", path, f"the path of a router that can be imported ({error})") from error
