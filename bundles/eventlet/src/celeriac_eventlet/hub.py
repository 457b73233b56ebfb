"""The hub of eventlet, as a pool sees it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from celeriac.greenlets.hub import Greenlet, Hub, Timer
from celeriac.spi.pool import Killed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it is being retired is said once, in the log of the worker
    import eventlet
    from eventlet import hubs, patcher
    from eventlet.support.greenlets import GreenletExit

__all__ = ["EventletHub"]


class _Exit(GreenletExit, Killed):  # type: ignore[misc]  # eventlet has no types
    """Ends a greenlet, as eventlet's own functions do."""


class EventletHub(Hub):
    """Calls of eventlet."""

    def __init__(self) -> None:
        self._hub: Any = hubs.get_hub()

    def spawn(self, function: Callable[[], object]) -> Greenlet:
        greenlet: Greenlet = eventlet.spawn(function)
        return greenlet

    def park(self) -> None:
        self._hub.switch()

    def resume(self, greenlet: Greenlet) -> None:
        self._hub.schedule_call_global(0, greenlet.switch)

    def pause(self) -> None:
        eventlet.sleep(0)

    def sleep(self, seconds: float) -> None:
        eventlet.sleep(seconds)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        timer: Timer = self._hub.schedule_call_global(seconds, function)
        return timer

    def raise_later(self, seconds: float, error: BaseException) -> Timer:
        timer: Timer = eventlet.Timeout(seconds, error)
        return timer

    def kill(self, greenlet: Greenlet) -> None:
        self._hub.schedule_call_global(0, partial(_end, greenlet))

    def original(self, module: str, name: str) -> Any:
        return getattr(patcher.original(module), name)


def _end(greenlet: Greenlet) -> None:
    if not greenlet.dead:
        greenlet.throw(_Exit())
