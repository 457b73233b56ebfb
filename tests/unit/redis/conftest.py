"""A server for all tests of this folder, an empty database for each, and a server of its own for what changes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest

from celeriac.model.address import Address
from celeriac.spi.service import Context, Service
from celeriac_redis import testing
from celeriac_redis.link import Link

S = TypeVar("S", bound=Service)
SECONDS = 10.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _entered(stack: ExitStack, context: Any) -> Any:
    try:
        return stack.enter_context(context)
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def url(stack: ExitStack) -> str:
    """An empty database."""
    return str(_entered(stack, testing.store()))


@pytest.fixture
def own_server(stack: ExitStack) -> str:
    """A server that no other test uses."""
    return str(_entered(stack, testing.running_server("--appendonly", "no")))


@pytest.fixture
def connect(stack: ExitStack) -> Callable[..., Link]:
    """Open links that are closed at the end."""

    def connected(url: str, **options: Any) -> Link:
        link = testing.connect(url, **options)
        stack.callback(link.close)
        link.open(SECONDS)
        return link

    return connected


@pytest.fixture
def link(connect: Callable[..., Link], url: str) -> Link:
    return connect(url)


@pytest.fixture
def opened(stack: ExitStack) -> Callable[..., Any]:
    """Open services that are closed at the end."""

    def connected(kind: type[S], url: str, *, holder: str = "a", **options: Any) -> S:
        service = kind(Address.parse(url), Context(holder=holder, options=options))
        stack.callback(service.close)
        service.open(timeout=SECONDS)
        return service

    return connected
