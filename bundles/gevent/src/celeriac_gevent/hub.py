"""The hub of gevent, as a pool sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent import monkey

from celeriac.greenlets.hub import Greenlet, Hub, Timer
from celeriac.spi.pool import Killed

__all__ = ["GeventHub"]


class _Exit(gevent.GreenletExit, Killed):  # type: ignore[misc]  # gevent has no types
    """Ends a greenlet, as gevent's own functions do."""


class GeventHub(Hub):
    """Calls of gevent."""

    def __init__(self) -> None:
        self._hub: Any = gevent.get_hub()
        self._soon: Callable[..., object] = self._hub.loop.run_callback

    def spawn(self, function: Callable[[], object]) -> Greenlet:
        greenlet: Greenlet = gevent.spawn(function)
        return greenlet

    def park(self) -> None:
        self._hub.switch()

    def resume(self, greenlet: Greenlet) -> None:
        self._soon(greenlet.switch)

    def pause(self) -> None:
        gevent.sleep(0)

    def sleep(self, seconds: float) -> None:
        gevent.sleep(seconds)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        return _Timer(self._hub.loop, seconds, function)

    def raise_later(self, seconds: float, error: BaseException) -> Timer:
        return _Limit(seconds, error)

    def kill(self, greenlet: Greenlet) -> None:
        gevent.kill(greenlet, _Exit)  # does not wait

    def original(self, module: str, name: str) -> Any:
        return monkey.get_original(module, name)


class _Timer:
    __slots__ = ("_timer",)

    def __init__(self, loop: Any, seconds: float, function: Callable[[], object]) -> None:
        self._timer = loop.timer(seconds)
        self._timer.start(function)

    def cancel(self) -> None:
        self._timer.stop()
        self._timer.close()


class _Limit:
    __slots__ = ("_timeout",)

    def __init__(self, seconds: float, error: BaseException) -> None:
        self._timeout = gevent.Timeout.start_new(seconds, error)

    def cancel(self) -> None:
        self._timeout.close()
