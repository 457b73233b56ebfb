"""An app for tests: its broker and its results are in the memory of this process, fresh and empty."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from celeriac.client import state
from celeriac.client.app import Celeriac
from celeriac.config.settings import ENVIRONMENT_PREFIX
from celeriac.errors import ConfigurationError, UnknownPlugin

__all__ = ["fresh_url", "made_current", "make_app"]


@contextmanager
def fresh_url() -> Iterator[str]:
    """Give the URL of an empty broker and result store inside this process, and remove them at the end.

    Raises: UnknownPlugin: the plugin `memory` is not installed.
    """
    for point in entry_points(group="celeriac.harnesses", name="memory"):
        with point.load().transport() as harness:
            yield str(harness.address)
        return
    raise UnknownPlugin("harness", "memory", entry_points(group="celeriac.harnesses").names, extra=None)


@contextmanager
def make_app(settings: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Celeriac]:
    """Give an app that is current while the block runs; `settings` win over the environment of the tests."""
    app = Celeriac(**{"main": "tests", **parameters, **settings, "set_as_current": False})
    named = {name: value for name, value in settings.items() if ENVIRONMENT_PREFIX + name.upper() in os.environ}
    if named:
        app.conf.override(named, source="the test")
    with app, made_current(app):
        yield app


@contextmanager
def made_current(app: Celeriac) -> Iterator[None]:
    """Make an app the current one of this thread and of all that chose none; afterwards it is again who was."""
    try:
        former: Celeriac | None = state.get_current_app()
    except ConfigurationError:
        former = None
    app.set_default()
    app.set_current()
    try:
        yield
    finally:
        state.forget(app)
        state.make_default(former)
