# Longer than 400 lines because the whole tree of errors stands in one place.
"""Every error of Celeriac, as one tree.

CeleriacError
├── ConfigurationError            the program or its settings must change
│   ├── UnknownSetting            no setting of that name
│   ├── InvalidSetting            a value of the wrong type or out of range
│   ├── UnknownPlugin             no plugin of that name is installed
│   ├── MissingDependency         a plugin is installed, what it needs is not
│   ├── IncompatiblePlugin        a plugin written for another version of the interfaces
│   ├── Unsupported               the chosen plugin cannot do what was asked
│   ├── GraphError                boot steps that do not fit together
│   │   ├── DuplicateStep
│   │   ├── MissingNeed
│   │   ├── StepCycle
│   │   ├── UndeclaredNeed
│   │   └── UndeclaredProvide
│   ├── NotRegistered             no task of that name (also a KeyError)
│   ├── AlreadyRegistered         two different tasks of one name
│   └── QueueNotFound             no queue of that name (also a KeyError)
├── StoreError                    a broker or result store did not do what it was asked
│   ├── TransportLost             the connection to the broker broke
│   ├── StoreLost                 the connection to the result store or coordinator broke
│   ├── DeadlineExceeded          the store gave no answer in time
│   ├── StoreFull                 no room left; what was accepted before is kept
│   ├── ReadOnlyStore             the store cannot be written
│   ├── IncompatibleStore         written by a newer version
│   └── Unroutable                no queue takes this message; nothing was published
├── MessageError                  a message that cannot be read or written
│   ├── InvalidMessage            a field of a task message is missing or malformed
│   ├── EncodeError               a payload that the serializer cannot write
│   ├── DecodeError               bytes that the serializer cannot read
│   └── ContentDisallowed         a content type that is not accepted
├── TaskPredicate                 raised by a task to say how it ends
│   ├── Retry
│   ├── Ignore
│   └── Reject
├── TaskError                     what a caller learns about a task
│   ├── TimeoutError              no result in time (also the built-in TimeoutError)
│   ├── IncompleteStream          a tree of results that is not complete yet
│   ├── TaskRevokedError
│   ├── MaxRetriesExceededError
│   ├── SoftTimeLimitExceeded
│   ├── TimeLimitExceeded
│   ├── ChordError
│   ├── WorkerLostError
│   └── RemoteError               an exception of a type that is not known here
└── InternalError                 a broken invariant of our own: please report it
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = [
    "AlreadyRegistered",
    "CeleriacError",
    "ChordError",
    "ConfigurationError",
    "ContentDisallowed",
    "DeadlineExceeded",
    "DecodeError",
    "DuplicateStep",
    "EncodeError",
    "GraphError",
    "Ignore",
    "IncompatiblePlugin",
    "IncompatibleStore",
    "IncompleteStream",
    "InternalError",
    "InvalidMessage",
    "InvalidSetting",
    "MaxRetriesExceededError",
    "MessageError",
    "MissingDependency",
    "MissingNeed",
    "NotRegistered",
    "QueueNotFound",
    "ReadOnlyStore",
    "Reject",
    "RemoteError",
    "Retry",
    "SoftTimeLimitExceeded",
    "StepCycle",
    "StoreError",
    "StoreFull",
    "StoreLost",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
    "TransportLost",
    "UndeclaredNeed",
    "UndeclaredProvide",
    "UnknownPlugin",
    "UnknownSetting",
    "Unroutable",
    "Unsupported",
    "WorkerLostError",
    "nearest",
]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name closest to `name`, or an empty text."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


class CeleriacError(Exception):
    """The root of every error that Celeriac raises on purpose.

    `args` holds the text; what it is built from are attributes. So errors are copied, pickled and stored as what they
    are, without calling their constructors again.
    """

    @classmethod
    def from_parts(cls, args: Sequence[Any], attributes: Mapping[str, Any]) -> CeleriacError:
        """Rebuild an error from its `args` and attributes."""
        error = cls.__new__(cls, *args)
        error.__dict__.update(attributes)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_parts, (self.args, dict(self.__dict__))


# -- the program or its settings must change -------------------------------------------------------


class ConfigurationError(CeleriacError):
    """The program or its settings must change before this can work."""


class UnknownSetting(ConfigurationError, AttributeError):
    """A setting name that no part of Celeriac declares."""

    def __init__(self, name: str, known: Iterable[str] = (), *, source: str = "", hint: str = "") -> None:
        where = f" (in {source})" if source else ""
        super().__init__(f"No setting {name!r}{where}.{(hint and ' ' + hint) or nearest(name, known)}")
        self.name: str = name  # afterwards: AttributeError's own `name` is reset when it is made
        self.source = source


class InvalidSetting(ConfigurationError, ValueError):
    """A setting whose value has the wrong type or is out of range."""

    def __init__(self, name: str, value: object, expected: str, *, source: str = "") -> None:
        self.name = name
        self.value = value
        self.expected = expected
        self.source = source
        where = f" (in {source})" if source else ""
        super().__init__(f"Setting {name!r}{where} must be {expected}; got {value!r}.")


class UnknownPlugin(ConfigurationError, LookupError):
    """No plugin of that kind and name is installed."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, extra: str | None = None, meant: str | None = None
    ) -> None:
        self.kind = kind
        self.name = name
        self.known: list[str] = sorted(known)
        self.extra = extra
        near = f" Did you mean {meant!r}?" if meant else nearest(name, self.known) if not extra else ""
        fix = f" It is not installed; run: pip install 'celeriac[{extra}]'." if extra else ""
        have = ", ".join(self.known) or "none"
        super().__init__(f"No {kind} {name!r}.{near}{fix} Installed: {have}.")


class MissingDependency(ConfigurationError, ImportError):
    """A plugin is installed but something it imports is not."""

    def __init__(self, kind: str, plugin: str, cause: BaseException, *, fix: str = "") -> None:
        self.kind = kind
        self.plugin = plugin
        self.fix = fix
        super().__init__(f"The {kind} {plugin!r} cannot be loaded: {cause}.{fix and ' ' + fix}")


class IncompatiblePlugin(ConfigurationError):
    """A plugin written for another version of the interfaces."""

    def __init__(self, plugin: str, wants: int, have: int) -> None:
        self.plugin = plugin
        self.wants = wants
        self.have = have
        side = "the plugin" if wants < have else "celeriac"
        super().__init__(f"Plugin {plugin!r} speaks interface version {wants}, not {have}. Upgrade {side}.")


class Unsupported(ConfigurationError):
    """The chosen plugin cannot do what was asked."""

    def __init__(self, what: str, plugin: str, able: Sequence[str] = ()) -> None:
        self.what = what
        self.plugin = plugin
        self.able: tuple[str, ...] = tuple(able)
        fix = f" These can: {', '.join(able)}." if able else ""
        super().__init__(f"{plugin} does not support {what}.{fix}")


class GraphError(ConfigurationError):
    """Boot steps that do not fit together."""


class DuplicateStep(GraphError):
    """Two steps of one name, or two that provide the same key."""

    def __init__(self, what: str, first: str, second: str) -> None:
        self.what = what
        self.first = first
        self.second = second
        super().__init__(f"Two boot steps claim {what}: {first} and {second}. Remove or rename one.")


class MissingNeed(GraphError):
    """A step needs a key that no step provides."""

    def __init__(self, step: str, key: str, provided: Iterable[str], *, extra: str | None = None) -> None:
        self.step = step
        self.key = key
        self.extra = extra
        fix = f" The extra {extra!r} brings it; run: pip install 'celeriac[{extra}]'." if extra else ""
        super().__init__(f"Boot step {step!r} needs {key!r}, which no step provides.{nearest(key, provided)}{fix}")


class StepCycle(GraphError):
    """Steps that need each other in a circle."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path: tuple[str, ...] = tuple(path)
        super().__init__(f"Boot steps need each other in a circle: {' -> '.join(path)}. Cut one of these needs.")


class UndeclaredNeed(GraphError):
    """A step took a key that it did not declare, so its provider might not have started."""

    def __init__(self, step: str, key: str) -> None:
        self.step = step
        self.key = key
        super().__init__(f"Boot step {step!r} takes {key!r} without declaring it. Add the key to its `needs`.")


class UndeclaredProvide(GraphError):
    """A step provided a key it did not declare, or did not provide one that it did."""

    def __init__(self, step: str, key: str, *, declared: bool) -> None:
        self.step = step
        self.key = key
        said = "declares but never provides" if declared else "provides without declaring it"
        super().__init__(f"Boot step {step!r} {said} {key!r}. Make `provides` and `boot.provide` agree.")


class NotRegistered(ConfigurationError, KeyError):
    """No task of that name."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        super().__init__(f"No task {name!r} is registered.{nearest(name, known)}")

    def __str__(self) -> str:
        return str(self.args[0])


class AlreadyRegistered(ConfigurationError):
    """Two different tasks of one name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        super().__init__(f"Task {name!r} is defined twice: {first} and {second}. Pass `name=` to one of them.")


class QueueNotFound(ConfigurationError, KeyError):
    """No queue of that name, and missing queues are not created."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        fix = " Add it to `task_queues` or set `task_create_missing_queues`."
        super().__init__(f"No queue {name!r}.{nearest(name, known)}{fix}")

    def __str__(self) -> str:
        return str(self.args[0])


# -- brokers and stores ----------------------------------------------------------------------------


class StoreError(CeleriacError):
    """A broker or a result store did not do what it was asked."""


class TransportLost(StoreError, ConnectionError):
    """The connection to the broker broke; whether the last call took effect is not known."""


class StoreLost(StoreError, ConnectionError):
    """The connection to the result store or the coordinator broke."""


class DeadlineExceeded(StoreError, OSError):
    """The store gave no answer within the deadline."""

    def __init__(self, what: str, seconds: float) -> None:
        self.what = what
        self.seconds = seconds
        super().__init__(f"{what} gave no answer within {seconds:g} s.")


class StoreFull(StoreError):
    """No room is left in the store; what it had accepted is kept."""


class ReadOnlyStore(StoreError):
    """The store cannot be written."""


class IncompatibleStore(StoreError):
    """The store was written by a newer version."""


class Unroutable(StoreError):
    """No queue takes this message; nothing of the batch was published."""

    def __init__(self, exchange: str, routing_key: str) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        super().__init__(
            f"No queue is bound to exchange {exchange!r} with a key that matches {routing_key!r}."
            " Start a worker that consumes such a queue, or list the queue in `task_queues`."
        )


# -- messages --------------------------------------------------------------------------------------


class MessageError(CeleriacError):
    """A message that cannot be read or written."""


class InvalidMessage(MessageError, ValueError):
    """A field of a task message is missing or malformed."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"Task message, field {field!r}: {problem}.")


class EncodeError(MessageError, ValueError):
    """A payload that the serializer cannot write."""


class DecodeError(MessageError, ValueError):
    """Bytes that the serializer cannot read."""


class ContentDisallowed(MessageError):
    """A content type that is not accepted."""

    def __init__(self, content_type: str, accepted: Iterable[str]) -> None:
        self.content_type = content_type
        self.accepted: list[str] = sorted(accepted)
        super().__init__(
            f"Content type {content_type!r} is not accepted here (accepted: {', '.join(self.accepted)})."
            " Add its serializer to `accept_content` if you trust every producer."
        )


# -- what a task raises to say how it ends ---------------------------------------------------------


class TaskPredicate(CeleriacError):
    """Raised by a task to say how it ends."""


class Retry(TaskPredicate):
    """The task is to run again; a new message has been, or will be, published with this settlement.

    Args:
        message: Why, for the log.
        exc: The exception that caused it, if any.
        when: Seconds from now or the moment of the next run.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | None = None,
        *,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        self.message = message
        self.exc = exc
        self.excs: str | None = repr(exc) if exc is not None else None
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """Return when it runs again, as text."""
        return f"in {self.when:g}s" if isinstance(self.when, int | float) else f"at {self.when}"

    def __str__(self) -> str:
        return self.message or f"Retry {self.humanize()}{': ' + self.excs if self.excs else ''}"


class Ignore(TaskPredicate):
    """The task ends here; nothing is recorded and the message is acknowledged."""


class Reject(TaskPredicate):
    """The message is refused: back to its queue if `requeue`, else to the dead letters."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __str__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


# -- what a caller learns about a task -------------------------------------------------------------


class TaskError(CeleriacError):
    """What a caller learns about a task."""


class TimeoutError(TaskError, builtins.TimeoutError):  # noqa: A001  the field's name for it, and a kind of the built-in
    """No result within the time the caller was ready to wait; the task goes on."""


class IncompleteStream(TaskError):
    """Something in a tree of results has not ended, so what it leads to is not known yet."""


class TaskRevokedError(TaskError):
    """The task was revoked, expired or terminated."""


class MaxRetriesExceededError(TaskError):
    """The task was to be retried once more than `max_retries` allows."""


class SoftTimeLimitExceeded(TaskError):
    """Raised inside a task that reached its soft time limit."""


class TimeLimitExceeded(TaskError):
    """The task reached its hard time limit."""


class ChordError(TaskError):
    """The body of a chord cannot run, because members of its header failed."""


class WorkerLostError(TaskError):
    """The process that ran the task died."""


class RemoteError(TaskError):
    """An exception raised by the task whose type is not imported here.

    `type_name` and `module` name the original; `args` are its arguments as the result store gave them.
    """

    type_name: str = "RemoteError"
    module: str = __name__

    def __init__(self, type_name: str, module: str, args: Sequence[Any]) -> None:
        self.type_name = type_name
        self.module = module
        super().__init__(*args)

    def __str__(self) -> str:
        return f"{self.module}.{self.type_name}: {', '.join(map(str, self.args))}"


class InternalError(CeleriacError):
    """A broken invariant of Celeriac itself. Please report it, with the traceback."""
