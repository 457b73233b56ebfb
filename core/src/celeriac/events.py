"""Life-cycle events: what users subscribe to, and the source of logs, metrics and monitoring.

Each `Event` below is one kind; its docstring-like `about` says when it is sent and its `fields` what receivers get
as keywords. Senders test `event.receivers` first, so an event nobody listens to costs one attribute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["EVENTS", "Event"]

logger: logging.Logger = logging.getLogger(__name__)

Receiver = TypeVar("Receiver", bound=Callable[..., Any])


class Event:
    """One kind of event and who listens to it.

    Receivers are held strongly, called in the thread that sends, in the order they connected, with `sender` and the
    fields as keywords; they should accept `**kwargs`. What one raises is logged and reaches nobody else.
    """

    __slots__ = ("about", "fields", "name", "receivers")

    def __init__(self, name: str, fields: tuple[str, ...], about: str) -> None:
        self.name: str = name
        self.fields: tuple[str, ...] = fields
        self.about: str = about
        self.receivers: tuple[tuple[Callable[..., Any], Any], ...] = ()

    def connect(self, receiver: Receiver | None = None, *, sender: Any = None) -> Any:
        """Call `receiver` at each event, or only at those of one `sender`. Works as a decorator, with or without ()."""
        if receiver is None:
            return lambda function: self.connect(function, sender=sender)
        self.receivers = (*self.receivers, (receiver, sender))
        return receiver

    def disconnect(self, receiver: Callable[..., Any]) -> bool:
        """Stop calling `receiver`; return whether it was connected."""
        kept = tuple(pair for pair in self.receivers if pair[0] != receiver)
        found = len(kept) < len(self.receivers)
        self.receivers = kept
        return found

    def send(self, sender: Any, **fields: Any) -> None:
        """Call every receiver."""
        for receiver, only in self.receivers:
            if only is not None and only != sender:
                continue
            try:
                receiver(sender=sender, **fields)
            except Exception:
                logger.exception("event receiver failed", extra={"event": "receiver_failed", "kind": self.name})

    def __repr__(self) -> str:
        return f"<Event {self.name}>"


EVENTS: Final[dict[str, Event]] = {}
"""Every event by name: the table that docs/reference/events.md shows."""


def _event(name: str, fields: str, about: str) -> Event:
    EVENTS[name] = Event(name, tuple(fields.split()), about)
    return EVENTS[name]


before_task_publish: Event = _event(
    "before_task_publish", "message", "A task message is about to be published. Sender: the task's name."
)
after_task_publish: Event = _event(
    "after_task_publish", "message", "The broker has accepted it. Sender: the task's name."
)
task_received: Event = _event("task_received", "request", "A worker admitted a task. Sender: the task's name.")
task_prerun: Event = _event(
    "task_prerun", "task_id task args kwargs", "A task is about to run, where it runs. Sender: the task."
)
task_postrun: Event = _event(
    "task_postrun",
    "task_id task args kwargs retval state",
    "A task has run, however it ended. Sender: the task.",
)
task_success: Event = _event("task_success", "result", "A task returned. Sender: the task.")
task_retry: Event = _event("task_retry", "request reason", "A task will run again. Sender: the task.")
task_failure: Event = _event(
    "task_failure",
    "task_id exception args kwargs traceback",
    "A task raised or was refused. Sender: the task.",
)
task_revoked: Event = _event(
    "task_revoked",
    "request expired terminated",
    "A task was revoked, had expired or was terminated. Sender: the task's name.",
)
task_rejected: Event = _event(
    "task_rejected", "delivery reason", "A message went to the dead letters. Sender: the worker."
)
task_unknown: Event = _event(
    "task_unknown", "delivery name", "A message of an unknown task was parked. Sender: the worker."
)
task_settled: Event = _event("task_settled", "outcome request", "An outcome is committed. Sender: the task's name.")
lease_lost: Event = _event(
    "lease_lost", "held", "The worker's lease lapsed; what it held may run elsewhere. Sender: the worker."
)
settle_refused: Event = _event(
    "settle_refused", "verdicts", "Verdicts came too late and took no effect. Sender: the worker."
)
broker_connected: Event = _event(
    "broker_connected", "generation", "A connection to the broker is up. Sender: the worker."
)
broker_lost: Event = _event(
    "broker_lost", "generation error retry_in", "It broke; the next try is set. Sender: the worker."
)
loop_blocked: Event = _event(
    "loop_blocked",
    "request seconds stack",
    "A task keeps the loop of the pool `asyncio` from all others; `request` is None where it is no task's own run. "
    "Sender: the watch over the loop.",
)
worker_init: Event = _event("worker_init", "", "A worker is about to boot. Sender: the worker.")
worker_process_init: Event = _event(
    "worker_process_init", "", "A child process of the pool has started, in that process; it takes tasks afterwards."
)
worker_process_shutdown: Event = _event(
    "worker_process_shutdown", "pid exitcode", "It is about to end, unless it is killed, in that process."
)
worker_ready: Event = _event("worker_ready", "", "It takes tasks. Sender: the worker.")
worker_shutting_down: Event = _event("worker_shutting_down", "sig how", "A stop was asked for. Sender: the worker.")
worker_shutdown: Event = _event("worker_shutdown", "exitcode", "Everything is unwound. Sender: the worker.")
import_modules: Event = _event(
    "import_modules", "", "A program is about to import the app's task modules. Sender: the app."
)
setup_logging: Event = _event(
    "setup_logging", "loglevel logfile format colorize", "Connect to it, and the worker sets up no logging."
)
after_setup_logger: Event = _event("after_setup_logger", "logger loglevel logfile", "The worker has set up logging.")

__all__ += list(EVENTS)
