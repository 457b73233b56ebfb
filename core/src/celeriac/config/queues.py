"""Queues and exchanges as settings and options give them: ours, those of kombu, or dictionaries.

Objects of kombu are known by their attributes, so that nobody has to install it. What they say and no transport here
could keep (headers exchanges, arguments of an exchange or a binding) is an error rather than forgotten.

Source: kombu 5.7, `kombu/entity.py` (`Exchange`, `Queue`, `binding`, `Queue.from_dict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from celeriac.errors import ConfigurationError, InvalidSetting, nearest
from celeriac.model.routing import Binding, Exchange, ExchangeType, Queue

__all__ = ["as_exchange", "as_queue", "from_options", "is_queue"]

_FIELDS: Final = frozenset(Queue.__struct_fields__) - {"name"}
_RENAMED: Final = {
    "binding_key": "routing_key",
    "queue_arguments": "arguments",
    "queue_durable": "durable",
    "queue_auto_delete": "auto_delete",
    "message_ttl": "message_ttl_seconds",
    "expires": "expires_seconds",
}
"""kombu's names for what has another one here."""
_LIMITS: Final = {"max_length": "x-max-length", "max_length_bytes": "x-max-length-bytes"}
_EXCHANGE_OPTIONS: Final = ("exchange", "exchange_type", "exchange_durable")
_HEADERS: Final = " Celeriac resolves direct, topic and fanout exchanges: a topic with the words in the routing key can"


def is_queue(value: Any) -> bool:
    """Whether a value is a queue: ours, or one that looks like kombu's."""
    return isinstance(value, Queue) or all(hasattr(value, name) for name in ("name", "exchange", "queue_arguments"))


def as_queue(value: Any, *, setting: str = "task_queues") -> Queue:
    """Return a queue of any kind, or the name of one, as ours.

    Raises: InvalidSetting: it is none of these. ConfigurationError: it has what no transport can keep.
    """
    if isinstance(value, Queue):
        return value
    if isinstance(value, str):
        return Queue(value)
    if not is_queue(value):
        raise InvalidSetting(setting, value, "a queue of Celeriac or kombu, or the name of one")
    where = f"Queue {value.name!r}"
    bindings = [_binding(each, where) for each in getattr(value, "bindings", None) or ()]
    bindings.sort(key=lambda each: (each.exchange.name, each.routing_key))
    exchange = None if value.exchange is None else as_exchange(value.exchange)
    key = value.routing_key or None
    if bindings and (exchange is None or not exchange.name):
        exchange, key = bindings[0].exchange, bindings.pop(0).routing_key
    _refuse(where, "binding arguments", getattr(value, "binding_arguments", None))
    return Queue(
        value.name,
        exchange=exchange if exchange is not None and exchange.name else None,
        routing_key=key,
        durable=bool(value.durable),
        exclusive=bool(value.exclusive),
        auto_delete=bool(value.auto_delete),
        max_priority=value.max_priority,
        message_ttl_seconds=value.message_ttl,
        expires_seconds=value.expires,
        arguments=_with_limits(value.queue_arguments, {name: getattr(value, name, None) for name in _LIMITS}),
        bindings=tuple(bindings),
    )


def as_exchange(value: Any, type_: str = "direct", *, setting: str = "task_queues") -> Exchange:
    """Return an exchange of any kind, or the name of one of this type, as ours.

    Raises: InvalidSetting: it is none of these. ConfigurationError: it has what no transport can keep.
    """
    if isinstance(value, Exchange):
        return value
    if isinstance(value, str):
        return Exchange(value, _type(value, type_))
    if not all(hasattr(value, name) for name in ("name", "type", "durable")):
        raise InvalidSetting(setting, value, "an exchange of Celeriac or kombu, or the name of one")
    _refuse(f"Exchange {value.name!r}", "arguments", getattr(value, "arguments", None))
    return Exchange(value.name, _type(value.name, value.type or type_), bool(value.durable))


def from_options(name: str, options: Mapping[str, Any] | None) -> Queue:
    """Read a queue from its options, by our names or those of kombu, with the exchange's beside them.

    Raises: ConfigurationError: no such option, with the nearest; or what no transport can keep.
    """
    given = {_RENAMED.get(key, key): value for key, value in (options or {}).items()}
    type_, durable = given.pop("exchange_type", None) or "direct", given.pop("exchange_durable", None)
    exchange: Exchange | None = None
    if given.get("exchange"):
        exchange = as_exchange(given["exchange"], type_)
    elif type_ != "direct":
        exchange = Exchange(name, _type(name, type_))
    if exchange is not None and durable is not None:
        exchange = Exchange(exchange.name, exchange.type, bool(durable))
    given.pop("exchange", None)
    arguments = _with_limits(given.pop("arguments", None), {limit: given.pop(limit, None) for limit in _LIMITS})
    bindings = tuple(_binding(each, f"Queue {name!r}") for each in given.pop("bindings", None) or ())
    for option in given:
        if option not in _FIELDS:
            hint = nearest(option, [*_FIELDS, *_RENAMED, *_LIMITS, *_EXCHANGE_OPTIONS])
            raise ConfigurationError(f"Setting 'task_queues', queue {name!r}: no option {option!r}.{hint}")
    return Queue(name, exchange=exchange, arguments=arguments, bindings=bindings, **given)


def _binding(value: Any, where: str) -> Binding:
    if isinstance(value, Binding):
        return value
    if isinstance(value, Mapping):
        exchange, key, arguments = value.get("exchange"), value.get("routing_key"), value.get("arguments")
    else:
        exchange, key = getattr(value, "exchange", None), getattr(value, "routing_key", None)
        arguments = getattr(value, "arguments", None)
    if exchange is None:
        raise ConfigurationError(f"{where}: {value!r} is no binding: it has no exchange.")
    _refuse(where, "arguments of a binding", arguments)
    return Binding(as_exchange(exchange), key or "")


def _type(name: str, type_: str) -> ExchangeType:
    if type_ == "headers":
        raise ConfigurationError(f"Exchange {name!r} is of type headers.{_HEADERS} take its place.")
    return cast("ExchangeType", type_)


def _refuse(where: str, what: str, arguments: Any) -> None:
    if arguments:
        raise ConfigurationError(f"{where} has {what} ({dict(arguments)!r}), which cannot be kept. Leave them out.")


def _with_limits(arguments: Mapping[str, Any] | None, limits: Mapping[str, Any]) -> dict[str, Any]:
    set_limits = {_LIMITS[name]: value for name, value in limits.items() if value is not None}
    return {**set_limits, **(arguments or {})}
